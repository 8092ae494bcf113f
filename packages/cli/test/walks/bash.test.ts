import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { install, MANIFEST } from '../helper.ts';

test('bash completes with the script, also behind an equals sign', async (t) => {
  const { env, root, home } = await install(t);
  await mkdir(join(home, 'images', 'warm'), { recursive: true });
  await writeFile(join(home, 'images', 'warm', 'manifest.json'), JSON.stringify(MANIFEST));
  const script = `
    PATH=${JSON.stringify(join(root, 'lib/bin'))}:$PATH
    compopt() { :; }
    eval "$(forkpoint completion bash)"
    press() { COMP_LINE=$1; COMP_POINT=\${#1}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _forkpoint; echo "\${COMPREPLY[*]}"; }
    press 'forkpoint checkp' forkpoint checkp
    press 'forkpoint restore w' forkpoint restore w
    press 'forkpoint restore warm --listen=' forkpoint restore warm --listen =
    press 'forkpoint restore warm --listen=we' forkpoint restore warm --listen = we
    press 'forkpoint wait ' forkpoint wait ''
  `;
  const { stdout } = await promisify(execFile)('bash', ['-c', script], { env, timeout: 10_000 });
  assert.deepEqual(stdout.split('\n'), ['checkpoint', 'warm', 'web=', 'web=', '', '']);
});
