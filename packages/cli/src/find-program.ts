import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { errnoOf, reasonOf } from '@forkpoint/store';
import { CliError, EXIT } from './error.ts';

/**
 * Returns the absolute path of a program as execvp(3) would find it; a name without `/` is searched for in `path`.
 * Throws with exit code 127 when there is none, and 126 when it cannot be executed.
 */
export function findProgram(name: string, path: string | undefined, cwd: string): string {
  if (name.includes('/')) {
    const file = resolve(cwd, name);
    const problem = problemOf(file);
    if (problem === undefined) return file;
    if (problem.isAbsent) throw notFound(`there is no program ${name}`);
    throw notExecutable(name, problem.why);
  }
  let seen: { file: string; why: string } | undefined;
  for (const directory of (path ?? '/usr/local/bin:/usr/bin:/bin').split(':')) {
    const file = resolve(cwd, directory === '' ? '.' : directory, name);
    const problem = problemOf(file);
    if (problem === undefined) return file;
    if (!problem.isAbsent) seen ??= { file, why: problem.why };
  }
  if (seen !== undefined) throw notExecutable(seen.file, seen.why);
  throw notFound(`there is no program \`${name}\` in the directories of PATH`);
}

function problemOf(file: string): { isAbsent: boolean; why: string } | undefined {
  try {
    if (statSync(file).isDirectory()) return { isAbsent: false, why: 'it is a directory' };
    accessSync(file, constants.X_OK);
    return undefined;
  } catch (error) {
    const errno = errnoOf(error);
    return { isAbsent: errno === 'ENOENT' || errno === 'ENOTDIR', why: reasonOf(error) };
  }
}

function notFound(message: string): CliError {
  return new CliError(message, { code: 'ERR_FORKPOINT_PROGRAM_NOT_FOUND', exitCode: EXIT.notFound });
}

function notExecutable(name: string, why: string): CliError {
  return new CliError(`${name} cannot be executed: ${why}`, {
    code: 'ERR_FORKPOINT_PROGRAM_NOT_EXECUTABLE',
    exitCode: EXIT.notExecutable,
  });
}
