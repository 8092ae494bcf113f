// The codec beside the protobuf library, which knows the same messages from CRIU's own descriptions.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  create as createByLibrary,
  fromBinary,
  toBinary,
  type DescMessage,
  type Message,
} from '@bufbuild/protobuf';
import fc from 'fast-check';
import { lineOf } from '../../../scripts/lib/proto-tables.ts';
import { TABLES } from '../src/gen/tables.ts';
import { create, decodeMessage, encodeMessage, MissingField } from '../src/message.ts';
import { schemaOf } from '../src/schema.ts';
import { anyMessage, described } from './arbitrary.ts';

/** Own fields of a message and of those in it, whoever has made it. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map((item) => plain(item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

function byLibrary(schema: DescMessage, bytes: Uint8Array): unknown {
  return plain(fromBinary(schema, bytes));
}

function isRefused(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch (error) {
    assert.ok(error instanceof RangeError || error instanceof MissingField, String(error));
    return true;
  }
}

/** Pairs of a message and the description of its type. */
const anyOfAll: fc.Arbitrary<readonly [DescMessage, Message]> = fc
  .constantFrom(...described.values())
  .chain((schema) => anyMessage(schema).map((message) => [schema, message] as const));

describe('the codec of messages', () => {
  it('has the tables of the descriptions', () => {
    assert.ok(described.size > 150);
    assert.deepEqual(
      Object.entries(TABLES),
      [...described].map(([name, message]) => [name, lineOf(message)]),
    );
  });

  it('has the defaults of the descriptions', () => {
    for (const [name, message] of described) {
      const [ours, theirs] = [create(schemaOf(name), {}), createByLibrary(message)];
      for (const { localName, fieldKind } of message.fields) {
        const read = (from: object): unknown => plain((from as Record<string, unknown>)[localName]);
        if (fieldKind !== 'message') assert.deepEqual(read(ours), read(theirs), `${name}.${localName}`);
      }
    }
  });

  it('writes what the library writes, and reads what it reads', () => {
    const isSame = fc.property(anyOfAll, ([schema, message]) => {
      const bytes = toBinary(schema, message);
      assert.deepEqual([...encodeMessage(schemaOf(schema.typeName), message)], [...bytes]);
      assert.deepEqual(plain(decodeMessage(schemaOf(schema.typeName), bytes)), byLibrary(schema, bytes));
    });
    fc.assert(isSame, { numRuns: 500 });
  });

  it('reads a message that was changed as the library does, or refuses it', () => {
    let read = 0;
    const change = fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('set', 'cut', 'add'));
    const isSame = fc.property(
      anyOfAll,
      fc.array(change, { minLength: 1, maxLength: 3 }),
      ([schema, message], changes) => {
        let bytes: Uint8Array = toBinary(schema, message);
        for (const [place, value, how] of changes) {
          const at = bytes.length === 0 ? 0 : place % bytes.length;
          if (how === 'set') bytes[at] = value;
          else if (how === 'cut') bytes = bytes.slice(0, at);
          else bytes = Uint8Array.of(...bytes.subarray(0, at), value, ...bytes.subarray(at));
        }
        const ours = schemaOf(schema.typeName);
        if (isRefused(() => decodeMessage(ours, bytes))) return;
        read++;
        assert.deepEqual(plain(decodeMessage(ours, bytes)), byLibrary(schema, bytes));
      },
    );
    fc.assert(isSame, { numRuns: 500 });
    assert.ok(read > 30, `only ${read} were read`);
  });

  it('reads lists that are packed, and groups that it does not know', () => {
    // creds_entry.groups, field 14: CRIU writes each by itself.
    const creds = described.get('creds_entry');
    assert.ok(creds);
    const required = toBinary(
      creds,
      createByLibrary(creds, {
        uid: 1,
        gid: 2,
        euid: 3,
        egid: 4,
        suid: 5,
        sgid: 6,
        fsuid: 7,
        fsgid: 8,
        secbits: 9,
      }),
    );
    const bytes = Uint8Array.of(...required, 0x72, 3, 5, 0x80, 1, 0x70, 7, 0xa3, 6, 8, 1, 0xa4, 6);
    const message = decodeMessage(schemaOf('creds_entry'), bytes);
    assert.deepEqual(plain(message), byLibrary(creds, bytes));
    assert.deepEqual(plain((message as unknown as { groups: number[] }).groups), [5, 128, 7]);
  });

  it('refuses values that a field cannot have, and messages without a required field', () => {
    const entry = schemaOf('fs_entry');
    for (const cwdId of [-1, 1.5, 2 ** 32, 1n, '1', null])
      assert.throws(() => encodeMessage(entry, create(entry, { cwdId, rootId: 1 } as never)), RangeError);
    assert.throws(() => encodeMessage(entry, create(entry, { cwdId: 1 } as never)), {
      field: 'fs_entry.rootId',
    });
    assert.throws(() => decodeMessage(entry, Uint8Array.of(8, 1)), { field: 'fs_entry.rootId' });
    assert.throws(() => schemaOf('no_entry'), RangeError);
  });
});
