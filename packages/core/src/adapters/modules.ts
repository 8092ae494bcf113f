import { warn } from '../failures.ts';
import type { Patch } from './types.ts';

const MARK = '/node_modules/';

/**
 * Has every file of a library whose name ends like a key pass through a function right after it was loaded. CommonJS only, which
 * is what the libraries are that hold connections; `import` of one comes through here as well (Module.prototype.load is called
 * by lib/internal/modules/esm/translators.js of Node 20 to 26).
 */
export function onLoad(patches: ReadonlyMap<string, Patch>): void {
  const { prototype } = process.getBuiltinModule('node:module') as unknown as { prototype: object };
  const load: unknown = Reflect.get(prototype, 'load');
  if (typeof load !== 'function') return;
  Reflect.set(prototype, 'load', function loadAdapted(this: { exports: unknown }, filename: unknown): void {
    Reflect.apply(load, this, [filename]);
    const at = typeof filename === 'string' ? filename.lastIndexOf(MARK) : -1;
    if (at === -1) return;
    const patch = patches.get(String(filename).slice(at + MARK.length));
    if (patch === undefined) return;
    try {
      this.exports = patch(this.exports);
    } catch (error) {
      // A version of the library that looks different inside: it works as if there were no adapter.
      warn(error);
    }
  });
}
