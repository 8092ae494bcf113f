import type { Message } from '@bufbuild/protobuf';
import { reader } from './reader.ts';
import type { Field, Schema } from './schema.ts';
import { Writer } from './writer.ts';

/** A message without one of its required fields, which CRIU's own reader refuses. */
export class MissingField extends Error {
  /** The field, as `TYPE.FIELD`. */
  readonly field: string;

  constructor(field: string) {
    super(`the required field ${field} is missing`);
    this.field = field;
  }
}

/** Values of fields by their names, for a message that is made; messages within it may be given in the same way. */
export type Values<Type> = {
  readonly [Key in keyof Type as Key extends '$typeName' | '$unknown' ? never : Key]?:
    | Value<Type[Key]>
    | undefined;
};

type Value<Type> = Type extends Message
  ? Type | Values<Type>
  : Type extends readonly (infer Item)[]
    ? readonly Value<Item>[]
    : Type;

/** Messages nest this deep at most, as in other readers of protocol buffers. */
const DEEPEST = 100;
const WIRE_VARINT = 0;
const WIRE_FIXED = 1;
const WIRE_COUNTED = 2;

type Fields = Record<string, unknown>;

/** Returns a message with these values. A list that is not given is empty. */
export function create<Type extends Message>(schema: Schema<Type>, values: Values<Type>): Type {
  return filled(schema, values) as Type; // the schema is the type's
}

function filled(schema: Schema, values: Readonly<Fields>): Fields {
  const message = empty(schema);
  for (const { name, isList, inner } of schema.fields) {
    const value = values[name];
    if (value === undefined) continue;
    const made = (item: unknown): unknown => (inner === undefined ? item : asMessage(inner(), item));
    message[name] = isList ? (value as unknown[]).map(made) : made(value);
  }
  return message;
}

function asMessage(schema: Schema, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || '$typeName' in value) return value;
  return filled(schema, value as Readonly<Fields>);
}

/**
 * Returns the message that the bytes are. Byte fields are views of them; fields that are not known are kept in `$unknown`. Throws
 * MissingField, and RangeError for bytes that are no such message.
 */
export function decodeMessage<Type extends Message>(schema: Schema<Type>, bytes: Uint8Array): Type {
  reader.open(bytes);
  try {
    const message = empty(schema);
    decodeInto(message, schema, bytes.length, 0);
    return message as Type; // the schema is the type's
  } finally {
    reader.close();
  }
}

/** Returns the bytes of a message, fields in the order of their numbers. Throws MissingField and RangeError. */
export function encodeMessage<Type extends Message>(schema: Schema<Type>, message: Type): Uint8Array {
  const writer = new Writer();
  encodeInto(writer, schema, message);
  return writer.finish();
}

function empty(schema: Schema): Fields {
  const message = Object.create(schema.prototype) as Fields;
  message['$typeName'] = schema.typeName;
  for (const { isList, name } of schema.fields) if (isList) message[name] = [];
  return message;
}

function decodeInto(message: Fields, schema: Schema, end: number, depth: number): void {
  if (depth > DEEPEST) throw new RangeError('messages nest too deep');
  const { byNumber } = schema;
  while (reader.at < end) {
    const tag = reader.tag();
    const wire = tag & 7;
    const field = byNumber.get(tag >>> 3);
    if (field === undefined) keepUnknown(message, tag, DEEPEST - depth);
    else if (field.isList) readItems(message[field.name] as unknown[], field, wire, depth);
    else if (field.type === 'm') readInner(message, field, wire, depth);
    else message[field.name] = readScalar(field, wire);
  }
  if (reader.at !== end) throw new RangeError('a message ends within one of its fields');
  for (const field of schema.fields)
    if (field.isRequired && !Object.hasOwn(message, field.name))
      throw new MissingField(`${schema.typeName}.${field.name}`);
}

function keepUnknown(message: Fields, tag: number, depth: number): void {
  const no = tag >>> 3;
  const wireType = tag & 7;
  const unknown = (message['$unknown'] ??= []) as { no: number; wireType: number; data: Uint8Array }[];
  unknown.push({ no, wireType, data: reader.skip(wireType, no, depth) });
}

function readItems(items: unknown[], field: Field, wire: number, depth: number): void {
  if (field.type === 'm') {
    items.push(innerMessage(field, wire, depth));
    return;
  }
  if (wire !== WIRE_COUNTED || field.type === 't' || field.type === 'y') {
    items.push(readScalar(field, wire));
    return;
  }
  // CRIU does not pack them, but every reader has to understand it.
  const end = reader.length();
  const own = field.type === 'F' ? WIRE_FIXED : WIRE_VARINT;
  while (reader.at < end) items.push(readScalar(field, own));
  if (reader.at !== end) throw new RangeError('a list ends within one of its items');
}

// The same message once more adds to the first.
function readInner(message: Fields, field: Field, wire: number, depth: number): void {
  message[field.name] = innerMessage(field, wire, depth, message[field.name] as Fields | undefined);
}

function innerMessage(field: Field, wire: number, depth: number, before?: Fields): Fields {
  const inner = field.inner?.();
  if (wire !== WIRE_COUNTED || inner === undefined) throw new RangeError(`${field.name} is no message`);
  const message = before ?? empty(inner);
  decodeInto(message, inner, reader.length(), depth + 1);
  return message;
}

function readScalar({ type, name }: Field, wire: number): unknown {
  const expected = type === 't' || type === 'y' ? WIRE_COUNTED : type === 'F' ? WIRE_FIXED : WIRE_VARINT;
  if (wire !== expected) throw new RangeError(`${name} is of another type`);
  switch (type) {
    case 'u':
      return reader.uint32();
    case 'U':
      return reader.uint64();
    case 'i':
    case 'e':
      return reader.uint32() | 0;
    case 'I':
      return BigInt.asIntN(64, reader.uint64());
    case 'z':
      return reader.zigzag32();
    case 'Z':
      return reader.zigzag64();
    case 'F':
      return reader.fixed64();
    case 'b':
      return reader.bool();
    case 't':
      return reader.text();
    case 'y':
      return reader.bytes();
    case 'm':
      break;
  }
  throw new RangeError(`${name} has no scalar type`);
}

function encodeInto(writer: Writer, schema: Schema, message: object): void {
  const values = message as Readonly<Fields>;
  for (const field of schema.fields) {
    const value = values[field.name];
    if (field.isList) {
      for (const item of value as readonly unknown[]) encodeField(writer, field, item);
    } else if (value !== undefined && Object.hasOwn(values, field.name)) {
      encodeField(writer, field, value);
    } else if (field.isRequired) {
      throw new MissingField(`${schema.typeName}.${field.name}`);
    }
  }
  for (const { no, wireType, data } of (message as Message).$unknown ?? [])
    writer.unknown(no, wireType, data);
}

function encodeField(writer: Writer, field: Field, value: unknown): void {
  if (field.type !== 'm') {
    writer.scalar(field.number, field.type, value);
    return;
  }
  const inner = field.inner?.();
  if (typeof value !== 'object' || value === null || inner === undefined)
    throw new RangeError(`${field.name} is no message`);
  writer.begin(field.number);
  encodeInto(writer, inner, value);
  writer.end();
}
