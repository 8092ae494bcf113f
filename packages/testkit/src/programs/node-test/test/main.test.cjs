const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const test = require('node:test');

test('is started as by node', () => {
  assert.equal(require.main, module);
  assert.equal(process.mainModule, module);
  assert.equal(process.argv[1], __filename);
  assert.equal(process.argv.length, 2);
  assert.equal(globalThis.isReady, process.env.WANTS_SETUP === '1' ? true : undefined);
  assert.deepEqual(
    Object.keys(process.env).filter((name) => /^FORKPOINT_(?!HOME|NODE|TEST_)/.test(name)),
    [],
  );
  assert.equal(process.env.NODE_OPTIONS, undefined);
  const { stdout } = spawnSync(process.execPath, ['-p', '1 + 1'], { encoding: 'utf8' });
  assert.equal(stdout, '2\n');
});

test('has its own random numbers', () => {
  console.log('drawn', Math.random());
});
