import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { errnoOf } from './error.ts';

/**
 * Whether what is mounted at a directory is mounted noexec: nothing below it can be mapped as code (mm/mmap.c, path_noexec). Asked by
 * the id of its mount (proc_pid_fdinfo(5)), since node:fs leaves out the flags of statfs(2). False for what is not there. Throws system errors.
 */
export function isNoexec(directory: string): boolean {
  let fd: number;
  try {
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
  try {
    const id = /^mnt_id:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
    const mounts = readFileSync('/proc/self/mountinfo', 'latin1').split('\n');
    const options = mounts.find((line) => line.startsWith(`${id} `))?.split(' ')[5] ?? '';
    return options.split(',').includes('noexec');
  } finally {
    closeSync(fd);
  }
}
