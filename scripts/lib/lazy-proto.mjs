// Makes the generated descriptions of messages lazy: to build all of them takes longer than the rest of a start, and a
// command needs a few. Every export becomes a function that builds its description at the first call.
const EXPORT =
  /export const (\w+): (Gen\w+(?:<[^=]+>)?) = \/\*@__PURE__\*\/\n {2}(fileDesc|messageDesc|enumDesc|extDesc)\(([^;]*)\);/g;
const IMPORTED = /from "(\.\/[\w-]+_pb\.ts|@bufbuild\/protobuf\/wkt)"/;

/** Returns the text of a generated file with lazy exports. */
export function lazy(text) {
  const names = [...text.matchAll(/export const (\w+): Gen/g)].map(([, name]) => name);
  const imports = text.split('\n').filter((line) => IMPORTED.test(line) && !line.startsWith('import type'));
  const others = imports
    .filter((line) => !line.includes('protobuf/wkt'))
    .flatMap((line) => /\{ (.*) \}/.exec(line)[1].split(', '));
  const call = new RegExp(
    `\\b(${[...names, ...others].filter((name) => name.startsWith('file_')).join('|')})\\b`,
    'g',
  );
  return text
    .replace(EXPORT, (_, name, type, make, words) => {
      const [bytes = '', rest = words] = /^("[^"]*")(.*)$/s.exec(words)?.slice(1) ?? [];
      return `export const ${name}: () => ${type} = lazy(() => ${make}(${bytes}${rest.replace(call, '$1()')}));`;
    })
    .replaceAll(/`create\((\w+)\)`/g, '`create($1())`')
    .replace(/^(import \{.*codegenv2";)$/m, '$1\nimport { lazy } from "../lazy.ts";');
}
