import type { DescEnum, DescMessage } from '@bufbuild/protobuf';

/**
 * Makes all enumerations of the messages open: a number without a name stays in its field, as it does in CRIU's own
 * reader (protobuf-c), instead of moving to the unknown fields. Without it a file type of a later CRIU would leave the
 * required field `type` empty. The library decides when it first reads a message, so this has to come before.
 */
export function openEnums(schemas: Iterable<DescMessage>): void {
  const seen = new Set<DescMessage>();
  const waiting = [...schemas];
  for (let schema = waiting.pop(); schema !== undefined; schema = waiting.pop()) {
    if (seen.has(schema)) continue;
    seen.add(schema);
    for (const field of schema.fields) {
      if (field.enum) open(field.enum);
      if (field.message) waiting.push(field.message);
    }
  }
}

function open(description: { -readonly [Key in keyof DescEnum]: DescEnum[Key] }): void {
  description.open = true;
}
