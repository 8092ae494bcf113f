import crypto from 'node:crypto';

export const dynamic = 'force-dynamic';

export function GET() {
  const bytes = Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(16))).toString('hex');
  return Response.json([
    String(Math.random()),
    crypto.randomUUID(),
    crypto.randomBytes(16).toString('hex'),
    bytes,
  ]);
}
