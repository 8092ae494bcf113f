// Copies the clients of other languages into the package: `forkpoint run` lets Python and Ruby find them there.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const target = join(root, 'packages/forkpoint/clients');
const SOURCES = { python: 'clients/python/src', ruby: 'clients/ruby/lib' };

/** Brings the copies up to date; files that are right are left alone, because images may hold them open. */
export function copyClients() {
  for (const [name, source] of Object.entries(SOURCES)) {
    const from = join(root, source);
    if (!existsSync(from)) continue;
    const files = readdirSync(from, { recursive: true }).filter((file) => /\.(py|rb|typed)$/.test(file));
    const to = join(target, name);
    for (const file of files) {
      const [path, content] = [join(to, file), readFileSync(join(from, file))];
      if (existsSync(path) && readFileSync(path).equals(content)) continue;
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
    const stale = existsSync(to) ? readdirSync(to, { recursive: true }) : [];
    for (const file of stale) {
      if (/\.(py|rb|typed)$/.test(file) && !files.includes(file)) rmSync(join(to, file));
    }
  }
}
