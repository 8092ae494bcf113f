// What scripts/build.mjs makes of the bundles that only run, so that a command starts sooner.

/** Loaded by every start of Node.js, or by the first lines of every command. */
const AT_ONCE = new Set(['events', 'fs', 'os', 'path', 'process', 'url', 'util']);
const HELPER =
  'var __late=(load,loaded)=>()=>loaded??=load(),__lateModule=(load)=>new Proxy({},{get:(_,name)=>load()[name]});';

/**
 * Returns a bundle (of esbuild: CommonJS, without blanks) in which Node's own modules are loaded when something of them is first
 * used: node:crypto, node:child_process and node:http together are a tenth of the processor time of a short command.
 * A name such as `import_node_zlib2`, which esbuild uses as `import_node_zlib2.default.inflate` only, becomes a function.
 * Throws when such a name is used in another way.
 * @param {string} text
 */
export function loadLate(text) {
  const names = new Set();
  const declared = text.replaceAll(
    /(?<![\w$])(import_\w+)=((?:__toESM\()?require\("node:([\w/]+)"\)(?:,1\)|\))?)(?=[,;}])/g,
    (whole, name, load, module) => {
      if (AT_ONCE.has(module)) return whole;
      names.add(name);
      return `${name}=__late(()=>${load})`;
    },
  );
  // A library's own name for the whole module may be any, and means something else elsewhere.
  const whole = declared.replaceAll(
    /(?<=[,\s])(\w+)=(require\("node:([\w/]+)"\))(?=[,;}])/g,
    (all, name, load, module) =>
      name.startsWith('import_') || AT_ONCE.has(module) ? all : `${name}=__lateModule(()=>${load})`,
  );
  if (whole === text) return text;
  const used = whole
    // Without the parentheses `new` would take the function for a class.
    .replaceAll(/\bnew (import_\w+)((?:\.[\w$]+)+)/g, (whole, name, path) =>
      names.has(name) ? `new(${name}()${path})` : whole,
    )
    .replaceAll(/(?<![\w$.])(import_\w+)(?=\.)/g, (name) => (names.has(name) ? `${name}()` : name));
  // What is left are declarations.
  for (const [, name, next] of used.matchAll(/(?<![\w$.])(import_\w+)(\(\)|[^\w])/g))
    if (names.has(name) && !['()', '=', ',', ';', '}'].includes(next))
      throw new Error(`the bundle uses ${name} in a way that is not known: ${name}${next}`);
  return used.replace(/^("use strict";)?/, `$1${HELPER}`);
}

/**
 * Returns code without any character beyond ASCII, which V8 keeps in half the memory. esbuild leaves those in regular expressions;
 * an escape means the same there.
 * @param {string} text
 */
export function asAscii(text) {
  return text.replaceAll(
    /[^\0-\x7f]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
