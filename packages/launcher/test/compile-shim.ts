import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

const SOURCES = join(import.meta.dirname, '../shim');
const LIMIT_MS = 20_000;

/**
 * Compiles shim.c, reseed.c or codec.c with a compiler (cc, gcc, tcc ...) and returns the path of the shared object. Every
 * warning of gcc and clang is an error; tcc takes the same source with fewer options.
 */
export function compileShim(
  compiler: string,
  name: 'shim' | 'reseed' | 'codec',
  directory: string,
  args: readonly string[] = [],
): string {
  const target = join(directory, name === 'shim' ? 'shim.so' : `${name}.node`);
  const isTcc = compiler.endsWith('tcc');
  const strict = isTcc ? [] : ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Wformat=2', '-Werror'];
  execFileSync(
    compiler,
    [...args, ...strict, '-shared', '-fPIC', '-nostdlib', '-o', target, join(SOURCES, `${name}.c`)],
    {
      timeout: LIMIT_MS,
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  return target;
}

/** Checks that a Node binary with the shim holds no io_uring, does file and network work, and reseeds OpenSSL. */
export function checkShim(node: string, shim: string, reseed: string): void {
  const script = `
    const fs = require('node:fs');
    const server = require('node:net').createServer((socket) => socket.end('pong')).listen(0, '127.0.0.1', () => {
      require('node:net').connect(server.address().port, '127.0.0.1').on('data', async (data) => {
        await fs.promises.readFile(process.execPath.replace(/bin.node$/, 'package.json'));
        process.dlopen({ exports: {} }, ${JSON.stringify(reseed)});
        process.dlopen({ exports: {} }, ${JSON.stringify(reseed)});
        const links = fs.readdirSync('/proc/self/fd').flatMap((fd) => {
          try { return [fs.readlinkSync('/proc/self/fd/' + fd)]; } catch { return []; }
        });
        const stack = fs.readFileSync('/proc/self/maps', 'utf8').split('\\n').find((line) => line.endsWith('[stack]'));
        console.log(JSON.stringify({ data: String(data), rings: links.filter((link) => link.includes('io_uring')),
          hasEpoll: links.some((link) => link.includes('eventpoll')), stack: stack.split(' ')[1] }));
        server.close();
      });
    });`;
  const env = { PATH: process.env['PATH'], LD_PRELOAD: shim };
  const output = execFileSync(node, ['-e', script], { env, encoding: 'utf8', timeout: LIMIT_MS });
  // A shared object without a PT_GNU_STACK header would make the stack of every program executable.
  assert.deepEqual(JSON.parse(output), { data: 'pong', rings: [], hasEpoll: true, stack: 'rw-p' });
}
