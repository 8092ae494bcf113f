import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { compileShim, checkShim } from './compile-shim.ts';

const directory = mkdtempSync(join(tmpdir(), 'forkpoint-shim-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const shim = compileShim('cc', 'shim', directory);
const reseed = compileShim('cc', 'reseed', directory);

const NODE_MODULES = join(import.meta.dirname, '../../../node_modules');

for (const version of ['node20', 'node24']) {
  test(`${version} runs with the shim and has no io_uring`, () => {
    checkShim(join(NODE_MODULES, version, 'bin/node'), shim, reseed);
  });
}

test('a program without node runs with the shim', () => {
  const env = { ...process.env, LD_PRELOAD: shim };
  assert.equal(execFileSync('/bin/sh', ['-c', 'echo hello'], { env, encoding: 'utf8' }), 'hello\n');
});

test('syscall() passes six arguments through, reports errors by errno, and refuses io_uring and keys', () => {
  const source = `
    #define _GNU_SOURCE
    #include <errno.h>
    #include <fcntl.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    int main(int argc, char **argv) {
      int fd = open(argv[0], O_RDONLY);
      char expected[16], *map;
      if (pread(fd, expected, 16, 4096) != 16) return 1;
      map = (char *)syscall(SYS_mmap, 0L, 4096L, (long)PROT_READ, (long)MAP_PRIVATE, (long)fd, 4096L);
      if (map == MAP_FAILED || memcmp(map, expected, 16)) return 2;
      errno = 0;
      if (syscall(SYS_close, -1L) != -1 || errno != EBADF) return 3;
      errno = 0;
      if (syscall(425, 8L, 0L) != -1 || errno != ENOSYS) return 4;
      errno = 0;
      if (pkey_alloc(0, 0) != -1 || errno != ENOSYS) return 5;
      return syscall(SYS_getpid) == getpid() ? 0 : 6;
    }`;
  const program = join(directory, 'probe');
  execFileSync('cc', ['-O2', '-o', program, '-x', 'c', '-'], { input: source });
  execFileSync(program, { env: { ...process.env, LD_PRELOAD: shim } });
});

test('the shim needs no library and asks the libc for errno and the environment only', () => {
  const needed = execFileSync('readelf', ['-d', shim], { encoding: 'utf8' });
  assert.doesNotMatch(needed, /NEEDED/);
  const undefinedSymbols = execFileSync('nm', ['-D', '--undefined-only', shim], { encoding: 'utf8' });
  assert.deepEqual(undefinedSymbols.trim().split(/\s+/), ['w', '__errno_location', 'w', 'environ']);
});
