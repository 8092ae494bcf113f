import { type DescField, type DescMessage, type Message, ScalarType } from '@bufbuild/protobuf';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import type { Entry, ImageFile, MessageKind } from '../src/index.ts';
import { create, KINDS } from '../src/index.ts';
import { schemaOf } from '../src/schema.ts';
import { describedMessages } from '../../../scripts/lib/proto-tables.ts';

/** CRIU's messages as the protobuf library describes them. */
export const described: ReadonlyMap<string, DescMessage> = await describedMessages();

/** Example file names of every kind, to be found again by `kindOf`. */
export function exampleName(kind: MessageKind): string {
  const { source } = KINDS[kind].name;
  return source
    .replaceAll(/[\^$\\]/g, '')
    .replace('d+', '7')
    .replace('[0-9a-f]+', '1a')
    .replace('[a-z]+', 'dump');
}

const anyUint32 = fc.integer({ min: 0, max: 0xffffffff });
const anyUint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const anyInt64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

const SCALARS: ReadonlyMap<ScalarType, fc.Arbitrary<unknown>> = new Map<ScalarType, fc.Arbitrary<unknown>>([
  [ScalarType.BOOL, fc.boolean()],
  [ScalarType.STRING, fc.string({ unit: 'grapheme', maxLength: 12 })],
  [ScalarType.BYTES, fc.uint8Array({ maxLength: 12 })],
  [ScalarType.UINT32, anyUint32],
  [ScalarType.FIXED32, anyUint32],
  [ScalarType.INT32, fc.integer()],
  [ScalarType.SINT32, fc.integer()],
  [ScalarType.UINT64, anyUint64],
  [ScalarType.FIXED64, anyUint64],
  [ScalarType.INT64, anyInt64],
  [ScalarType.SINT64, anyInt64],
]);

/** Directories of control groups nest without end. */
const DEEPEST = 4;

/** Generates messages of a type with every field that may be there. */
export function anyMessage(schema: DescMessage, depth = 0): fc.Arbitrary<Message> {
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of schema.fields) fields[field.localName] = anyField(field, depth);
  const unknown = fc.array(
    fc.record({
      no: fc.integer({ min: 5000, max: 9000 }),
      data: fc.uint8Array({ minLength: 0, maxLength: 8 }),
    }),
    { maxLength: 2 },
  );
  return fc.tuple(fc.record(fields), unknown).map(([values, extra]) => {
    const present = Object.entries(values).filter(([, value]) => value !== undefined);
    const message: Message = create(schemaOf(schema.typeName), Object.fromEntries(present));
    // Length-delimited unknown fields carry their length in front.
    const kept = extra.map(({ no, data }) => ({
      no,
      wireType: 2,
      data: Uint8Array.of(data.length, ...data),
    }));
    if (kept.length > 0) message.$unknown = kept;
    return message;
  });
}

function anyField(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.fieldKind === 'list') {
    return fc.array(anyElement(field, depth), { maxLength: depth < DEEPEST ? 3 : 0 });
  }
  const value = anyElement(field, depth);
  return field.presence === FeatureSet_FieldPresence.LEGACY_REQUIRED
    ? value
    : fc.option(value, { nil: undefined });
}

function anyElement(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.message) return depth > DEEPEST ? fc.constant(undefined) : anyMessage(field.message, depth + 1);
  if (field.enum) return fc.constantFrom(...field.enum.values.map(({ number }) => number));
  const scalar = field.scalar === undefined ? undefined : SCALARS.get(field.scalar);
  if (!scalar) throw new Error(`no arbitrary for ${field.name}`);
  return scalar;
}

/** Generates files of one kind whose payloads have the lengths that their messages give. */
export function anyFile(kind: MessageKind): fc.Arbitrary<ImageFile> {
  const { typeName } = KINDS[kind].schema();
  const schema = described.get(typeName);
  if (schema === undefined) throw new Error(`${typeName} is not described`);
  const isRest = KINDS[kind].payload === 'rest';
  const entry = fc
    .tuple(anyMessage(schema), fc.uint8Array({ maxLength: 24 }))
    .map(([message, bytes]) => withPayload(kind, message, bytes));
  return fc.array(entry, { maxLength: isRest ? 1 : 4 }).map((entries) => {
    const file = { kind, name: exampleName(kind), entries };
    return file as unknown as ImageFile; // entries are of the kind's type
  });
}

/** The fields that give the length of a payload, and how much of the offered bytes it may be, for each such kind. */
const PAYLOADS: Partial<Record<MessageKind, (bytes: Uint8Array) => [Record<string, unknown>, Uint8Array]>> = {
  'pipes-data': (bytes) => [{ bytes: bytes.length }, bytes],
  'fifo-data': (bytes) => [{ bytes: bytes.length }, bytes],
  'sk-queues': (bytes) => [{ length: bytes.length }, bytes],
  'tcp-stream': (bytes) => [{ inqLen: bytes.length >> 1, outqLen: (bytes.length + 1) >> 1 }, bytes],
  'bpfmap-data': (bytes) => [{ keysBytes: bytes.length >> 1, valuesBytes: (bytes.length + 1) >> 1 }, bytes],
  'ipcns-sem': (bytes) => [{ nsems: multiple(bytes, 8).length / 2 }, multiple(bytes, 8)],
  'ipcns-shm': (bytes) => [
    { inPagemaps: false, size: BigInt(multiple(bytes, 4).length) },
    multiple(bytes, 4),
  ],
  // One message: length 4, ipc_msg { mtype 1, msize 3 }, three bytes of text padded to eight.
  'ipcns-msg': () => [{ qnum: 1 }, Uint8Array.of(4, 0, 0, 0, 8, 1, 16, 3, 97, 98, 99, 0, 0, 0, 0, 0)],
  'ghost-file': (bytes) => [{}, bytes],
};

function withPayload(kind: MessageKind, message: Message, bytes: Uint8Array): Entry<Message> {
  const [fields, payload] = PAYLOADS[kind]?.(bytes) ?? [{}, new Uint8Array(0)];
  Object.assign(message, fields);
  return { message, payload };
}

function multiple(bytes: Uint8Array, unit: number): Uint8Array {
  return bytes.subarray(0, bytes.length - (bytes.length % unit));
}
