// Whether node_modules holds what package-lock.json asks for, without asking npm, which takes a second and may want the network.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Returns why `npm install` has to run, or null when nothing is missing. */
export function missingPackage(root) {
  const wanted = read(join(root, 'package-lock.json'));
  const present = read(join(root, 'node_modules/.package-lock.json'));
  if (present === null) return 'there is no node_modules yet';
  if (wanted === null) return 'there is no package-lock.json';
  const manifest = read(join(root, 'package.json'));
  const locked = wanted.packages[''] ?? {};
  for (const key of ['dependencies', 'devDependencies', 'workspaces']) {
    if (text(manifest[key]) !== text(locked[key]))
      return `package.json has other ${key} than package-lock.json`;
  }
  for (const [path, entry] of Object.entries(wanted.packages)) {
    if (!path.startsWith('node_modules/') || !isForThisMachine(entry)) continue;
    const found = present.packages[path];
    if (found === undefined || found.version !== entry.version)
      return `${path} ${entry.version ?? ''} is missing`;
    if (!existsSync(join(root, path, 'package.json'))) return `${path} is not there`;
  }
  return null;
}

function isForThisMachine({ os, cpu, libc, optional }) {
  const fits = (list, value) => list === undefined || list.includes(value);
  if (!fits(os, process.platform) || !fits(cpu, process.arch)) return false;
  // An optional package may be absent for reasons of its own; those bound to this platform hold its native programs.
  return optional !== true || (os !== undefined && cpu !== undefined && fits(libc, 'glibc'));
}

function text(value) {
  if (value === undefined) return '';
  return JSON.stringify(
    Array.isArray(value) ? value : Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)),
  );
}

function read(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // Missing or cut short: npm writes it again.
    return null;
  }
}
