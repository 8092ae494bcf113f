import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { compileShim, checkShim } from '../compile-shim.ts';

const directory = mkdtempSync(join(tmpdir(), 'forkpoint-shim-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const shim = compileShim('cc', 'shim', directory);
const reseed = compileShim('cc', 'reseed', directory);

const NODE_MODULES = join(import.meta.dirname, '../../../../node_modules');

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

test('the shim’s note points to where glibc counts its mapped chunks, and the threshold is as it was', () => {
  const source = `
    #include <malloc.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    struct note { char magic[16]; unsigned long isReady; unsigned *chunks; unsigned long *bytes, ranges; };
    static struct note *find(void) {
      unsigned long from, to;
      char line[4400];
      for (FILE *maps = fopen("/proc/self/maps", "r"); fgets(line, sizeof line, maps) != NULL;)
        if (strstr(line, "shim.so") && strstr(line, " rw") && sscanf(line, "%lx-%lx", &from, &to) == 2)
          for (; from < to; from += 512) if (!memcmp((char *)from, "forkpoint note 1", 16)) return (struct note *)from;
      return NULL;
    }
    int main(void) {
      char *volatile large[3], *volatile small = malloc(100 << 10);
      for (int i = 0; i < 3; i++) large[i] = malloc((300 + 100 * i) << 10);
      free(large[1]);
      struct note *note = find();
      struct mallinfo2 info = mallinfo2();
      if (note == NULL || note->isReady != 1 || note->chunks == NULL || note->ranges != 0) return 1;
      if (*note->chunks != info.hblks || *note->bytes != info.hblkhd || info.hblks != 2) return 2;
      return small != NULL ? 0 : 3;
    }`;
  const program = join(directory, 'counts');
  execFileSync('cc', ['-O2', '-o', program, '-x', 'c', '-'], { input: source });
  execFileSync(program, { env: { ...process.env, LD_PRELOAD: shim } });
});

test('a library that is mapped is kept under another name when it is deleted, everything else goes', () => {
  const source = `
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <stdio.h>
    #include <sys/stat.h>
    #include <unistd.h>
    static int copy(const char *from, const char *to) {
      char buffer[4096];
      int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700);
      for (long n; (n = read(in, buffer, sizeof buffer)) > 0;) if (write(out, buffer, n) != n) return 1;
      return close(in) | close(out);
    }
    int main(int argc, char **argv) {
      if (chdir(argv[1]) || copy(argv[2], "a.so") || copy(argv[2], "b.so") || copy(argv[2], "c.so")) return 1;
      if (!dlopen("./a.so", RTLD_NOW) || !dlopen("./b.so", RTLD_NOW)) return 2;
      if (unlink("a.so") || unlinkat(AT_FDCWD, "./b.so", 0) || remove("c.so")) return 3;
      if (copy(argv[2], "a.so") || !dlopen("././a.so", RTLD_NOW) || remove("a.so")) return 4;
      if (mkdir("d", 0700) || unlink("d") != -1 || errno != EISDIR || remove("d")) return 5;
      if (symlink("nowhere", "s") || unlink("s") || unlink("s") != -1 || errno != ENOENT) return 6;
      return mkdir("e", 0700) || unlinkat(AT_FDCWD, "e", AT_REMOVEDIR) ? 7 : 0;
    }`;
  const work = mkdtempSync(join(directory, 'kept-'));
  const program = join(directory, 'deletes');
  execFileSync('cc', ['-O2', '-o', program, '-x', 'c', '-', '-ldl'], { input: source });
  execFileSync(program, [work, reseed], { env: { ...process.env, LD_PRELOAD: shim } });
  assert.deepEqual(readdirSync(work).toSorted(), [
    'a.so.forkpoint-kept',
    'a.so.forkpoint-kept-1',
    'b.so.forkpoint-kept',
  ]);
});

test('the shim needs no library and asks the libc for few names, all of which may be missing', () => {
  const needed = execFileSync('readelf', ['-d', shim], { encoding: 'utf8' });
  assert.doesNotMatch(needed, /NEEDED/);
  const undefinedSymbols = execFileSync('nm', ['-D', '--undefined-only', shim], { encoding: 'utf8' });
  assert.deepEqual(undefinedSymbols.trim().split(/\s+/), [
    ...['w', '_IO_2_1_stdout_', 'w', '__errno_location', 'w', '__libc_free', 'w', '__libc_malloc'],
    ...['w', 'environ'],
  ]);
});
