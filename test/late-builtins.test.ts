import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { asAscii, loadLate } from '../scripts/lib/late-builtins.mjs';

/** Runs a bundle and returns what it exports, with the names of the modules that it has loaded so far. */
function load(text: string): { exports: Record<string, () => unknown>; loaded: string[] } {
  const require = createRequire(import.meta.url);
  const loaded: string[] = [];
  const module = { exports: {} as Record<string, () => unknown> };
  const spy = (id: string): unknown => {
    loaded.push(id);
    return require(id);
  };
  const __toESM = (library: object): object => ({ default: library, ...library });
  runInNewContext(text, { require: spy, module, __toESM });
  return { exports: module.exports, loaded };
}

test('a bundle loads a module of Node’s when it first uses something of it, and once', () => {
  const { exports, loaded } = load(
    loadLate(
      '"use strict";var import_node_crypto7=require("node:crypto"),import_node_fs=require("node:fs"),import_node_net3=__toESM(require("node:net"),1);' +
        'var import_node_stream,init=()=>{import_node_stream=require("node:stream")};init();' +
        'var commonjs=()=>{var zlib=require("node:zlib"),path=require("node:path");return zlib.crc32("a")};' +
        'module.exports={commonjs,hash(){return(0,import_node_crypto7.createHash)("sha1").update("a").digest("hex")},' +
        'server(){return new import_node_net3.default.Server().listening},' +
        'stream(){return new import_node_stream.PassThrough({highWaterMark:7}).readableHighWaterMark}};',
    ),
  );
  assert.deepEqual(loaded, ['node:fs']);
  assert.equal(exports['hash']?.(), '86f7e437faa5a7fce15d1ddcb9eaeaea377667b8');
  assert.equal(exports['hash']?.(), '86f7e437faa5a7fce15d1ddcb9eaeaea377667b8');
  assert.deepEqual(loaded, ['node:fs', 'node:crypto']);
  assert.equal(exports['server']?.(), false);
  assert.equal(exports['stream']?.(), 7);
  assert.equal(exports['commonjs']?.(), 0xe8b7be43);
  assert.deepEqual(loaded, ['node:fs', 'node:crypto', 'node:net', 'node:stream', 'node:path', 'node:zlib']);
});

test('a bundle that passes a module on as a value is refused, and one without any stays as it is', () => {
  assert.throws(
    () => loadLate('var import_node_net=require("node:net");f(import_node_net)'),
    /import_node_net\)/,
  );
  const plain = 'var import_node_fs=require("node:fs"),x=new import_node_fs.Stats;';
  assert.equal(loadLate(plain), plain);
});

test('code is ASCII, and means the same', () => {
  const text = 'module.exports={is:()=>/^[µé–]+$/.test("\\xb5\\xe9\\u2013")};';
  assert.doesNotMatch(asAscii(text), /[^\0-\x7f]/);
  assert.equal(load(asAscii(text)).exports['is']?.(), true);
});
