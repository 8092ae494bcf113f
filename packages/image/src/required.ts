import type { DescField, DescMessage, Message } from '@bufbuild/protobuf';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';

interface Check {
  readonly required: readonly string[];
  readonly nested: readonly { name: string; schema: DescMessage; isList: boolean }[];
}

const checks = new WeakMap<DescMessage, Check>();

/**
 * Returns the name of a required field that the message or a message in it does not have. The protobuf library leaves
 * this to the writer, but CRIU's own reader refuses such a message, and every user of a value relies on the field.
 */
export function missingRequired(schema: DescMessage, message: Message): string | undefined {
  const { required, nested } = checkOf(schema);
  for (const name of required) if (!Object.hasOwn(message, name)) return `${schema.typeName}.${name}`;
  if (nested.length === 0) return undefined;
  const fields = message as unknown as Record<string, Message | Message[] | undefined>; // fields of type message
  for (const { name, schema: inner, isList } of nested) {
    if (!Object.hasOwn(message, name)) continue;
    const value = fields[name];
    if (value === undefined) continue;
    for (const item of isList ? (value as Message[]) : [value as Message]) {
      const missing = missingRequired(inner, item);
      if (missing !== undefined) return missing;
    }
  }
  return undefined;
}

function checkOf(schema: DescMessage): Check {
  const known = checks.get(schema);
  if (known) return known;
  const check: Check = {
    required: schema.fields.filter(isRequired).map((field) => field.localName),
    nested: schema.fields.flatMap((field) => {
      const inner = field.fieldKind === 'message' || field.fieldKind === 'list' ? field.message : undefined;
      return inner ? [{ name: field.localName, schema: inner, isList: field.fieldKind === 'list' }] : [];
    }),
  };
  checks.set(schema, check);
  return check;
}

function isRequired(field: DescField): boolean {
  return field.presence === FeatureSet_FieldPresence.LEGACY_REQUIRED;
}
