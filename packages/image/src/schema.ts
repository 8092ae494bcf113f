import type { Message } from '@bufbuild/protobuf';
import { TABLES } from './gen/tables.ts';

/** Types of fields by the letter that they have in gen/tables.ts. */
export type Letter = 'u' | 'U' | 'i' | 'I' | 'z' | 'Z' | 'F' | 'b' | 't' | 'y' | 'e' | 'm';

/** One field of a message. */
export interface Field {
  readonly number: number;
  readonly type: Letter;
  readonly isList: boolean;
  readonly isRequired: boolean;
  readonly name: string;
  /** Description of the messages in it; only for type `m`. */
  readonly inner: (() => Schema) | undefined;
}

/** What is known of the messages of one type. */
export interface Schema<Type extends Message = Message> {
  readonly typeName: string;
  /** In the order of their numbers. */
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
  /** Fields that are not there read as what their prototype has: zero, or the default of CRIU's description. */
  readonly prototype: object;
  /** Never there: it ties the type to the description. */
  readonly shape?: Type;
}

const LETTERS: Readonly<Record<string, Letter | undefined>> = {
  ...{ u: 'u', U: 'U', i: 'i', I: 'I', z: 'z', Z: 'Z', F: 'F', b: 'b', t: 't', y: 'y', e: 'e', m: 'm' },
};
const ZEROS: Readonly<Record<Letter, unknown>> = {
  ...{ u: 0, i: 0, z: 0, e: 0, U: 0n, I: 0n, Z: 0n, F: 0n, b: false, t: '', m: undefined },
  y: new Uint8Array(0),
};
const known = new Map<string, Schema>();

/**
 * Returns a function that reads the description of a message when it is first asked for: a checkpoint needs some twenty of
 * a hundred and fifty. The caller names the type of the messages, which comes from the same description.
 */
export function schema<Type extends Message>(typeName: string): () => Schema<Type> {
  return () => schemaOf(typeName) as Schema<Type>; // both were made from the message of this name
}

/** Returns the description of a message by its name. Throws RangeError when there is none. */
export function schemaOf(typeName: string): Schema {
  let found = known.get(typeName);
  if (found === undefined) {
    found = read(typeName, TABLES[typeName]);
    known.set(typeName, found);
  }
  return found;
}

function read(typeName: string, line: string | undefined): Schema {
  if (line === undefined) throw new RangeError(`there is no message ${typeName}`);
  const fields: Field[] = [];
  const prototype: Record<string, unknown> = {};
  for (const word of line === '' ? [] : line.split(' ')) {
    const [, number, letter = '', label, name = '', remark] =
      /^(\d+)(\w)(.)(\w+)(?:=(.+))?$/.exec(word) ?? [];
    const type = LETTERS[letter];
    if (type === undefined) throw new RangeError(`${typeName} has the field ${word}`);
    const inner = type === 'm' ? schema(remark ?? '') : undefined;
    fields.push({
      number: Number(number),
      type,
      isList: label === '*',
      isRequired: label === '!',
      name,
      inner,
    });
    if (label !== '*' && type !== 'm') prototype[name] = zeroOf(type, remark);
  }
  return { typeName, fields, byNumber: new Map(fields.map((field) => [field.number, field])), prototype };
}

function zeroOf(type: Letter, remark: string | undefined): unknown {
  if (remark === undefined) return ZEROS[type];
  if (type === 'b') return remark === '1';
  return typeof ZEROS[type] === 'bigint' ? BigInt(remark) : Number(remark);
}
