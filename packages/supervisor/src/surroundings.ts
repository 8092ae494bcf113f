import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SupervisorError } from './error.ts';

/** What the launcher and the control directory tell a worker about the run it serves. */
export interface Surroundings {
  readonly home: string;
  /** The run's directory. */
  readonly runDirectory: string;
  /** Where the control directory is bound in the pod. */
  readonly controlDirectory: string;
  readonly rootPid: number;
  readonly cpu: readonly string[];
  readonly identity: Identity;
}

/** The run as identity.json describes it. */
export interface Identity {
  readonly id: string;
  readonly name: string;
  readonly image: string | null;
  readonly imageId: string | null;
  readonly parentId: string | null;
  readonly generation: number;
  readonly to: string | null;
  readonly toCwd: string | null;
  readonly startedAt: number;
}

/** Reads the surroundings from the worker's environment (ARCHITECTURE.md). Throws ERR_FORKPOINT_INTERNAL when it is incomplete. */
export function readSurroundings(env: Readonly<Record<string, string | undefined>>): Surroundings {
  const need = (name: string): string => {
    const value = env[name];
    if (value === undefined || value === '') throw broken(`${name} is not set`);
    return value;
  };
  const home = need('FORKPOINT_HOME');
  const controlDirectory = need('FORKPOINT_CTL');
  return {
    home,
    runDirectory: need('FORKPOINT_RUN_DIR'),
    controlDirectory,
    rootPid: Number(need('FORKPOINT_ROOT_PID')),
    cpu: need('FORKPOINT_CPU').split(' '),
    identity: readIdentity(join(controlDirectory, 'identity.json')),
  };
}

function readIdentity(path: string): Identity {
  const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
  if (typeof value !== 'object' || value === null) throw broken(`${path} is not an object`);
  const entries = new Map<string, unknown>(Object.entries(value));
  const text = (key: string): string | null => {
    const found = entries.get(key) ?? null;
    if (found !== null && typeof found !== 'string') throw broken(`${key} in ${path} is not a text`);
    return found;
  };
  const needText = (key: string): string => text(key) ?? '';
  const number = (key: string): number => {
    const found = entries.get(key);
    if (typeof found !== 'number' || !Number.isSafeInteger(found))
      throw broken(`${key} in ${path} is not a number`);
    return found;
  };
  return {
    id: needText('id'),
    name: needText('name'),
    image: text('image'),
    imageId: text('imageId'),
    parentId: text('parentId'),
    generation: number('generation'),
    to: text('to'),
    toCwd: text('toCwd'),
    startedAt: number('startedAt'),
  };
}

function broken(problem: string): SupervisorError {
  return new SupervisorError('ERR_FORKPOINT_INTERNAL', `the worker was started wrongly: ${problem}`);
}
