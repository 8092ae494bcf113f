import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeChildPlan } from '@forkpoint/manifest';
import type { ChildStdio } from '@forkpoint/manifest';
import type { Places } from '@forkpoint/store';

/** What starts clones of images. */
export interface CloneMaker {
  readonly places: Places;
  readonly launcher: string;
  /** The package's directory, in which `dist` is. */
  readonly library: string;
  readonly env: NodeJS.ProcessEnv;
}

/** One clone of an image that tells about itself at a socket. */
export interface CloneOrder {
  readonly id: string;
  readonly index: number;
  readonly image: string;
  readonly stdio: ChildStdio;
  /** Where whoever asks for it waits for its lines. */
  readonly socket: string;
  readonly isDetached?: boolean;
  readonly isParked?: boolean;
  readonly sharesPorts?: boolean;
  readonly hostname?: string | undefined;
  readonly listen?: Readonly<Record<string, string>> | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly args?: readonly string[] | undefined;
}

/** Starts a clone; what it has to say, failures included, comes over its line. */
export async function startClone(maker: CloneMaker, order: CloneOrder): Promise<ChildProcess> {
  const { places, launcher, library, env } = maker;
  const { id, index, image, listen = {}, env: variables = {}, args = [] } = order;
  await mkdir(places.runs, { recursive: true, mode: 0o700 });
  const directory = draftOf(places, id);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const plan = encodeChildPlan({
    id,
    home: places.home,
    index,
    isDetached: order.isDetached === true,
    isParked: order.isParked === true,
    stdio: order.stdio,
    socket: order.socket,
    inherit: [],
    close: [],
    hostname: order.hostname?.replaceAll('%i', String(index)) ?? null,
    sharesPorts: order.sharesPorts === true,
    args: [
      image,
      ...Object.entries(listen).flatMap(([slot, address]) => ['--listen', `${slot}=${address}`]),
      ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
      ...(args.length === 0 ? [] : ['--', ...args]),
    ],
    worker: [process.execPath, join(library, 'dist', 'worker.cjs')],
  });
  await writeFile(join(directory, 'child.plan'), plan, { mode: 0o600 });
  const started = spawn(launcher, ['child', join(directory, 'child.plan')], {
    env: { ...env, FORKPOINT_LIB: library },
    stdio: 'ignore',
    detached: true,
  });
  // A launcher that cannot be executed never comes to its line.
  started.on('error', () => undefined);
  started.unref();
  return started;
}

/** Removes what is left of a clone that did not come to live, or whose launcher was killed. */
export async function removeClone(places: Places, id: string): Promise<void> {
  for (const directory of [draftOf(places, id), join(places.runs, id)])
    await rm(directory, { recursive: true, force: true });
}

/** Where the plan lies until its launcher takes it over. */
function draftOf(places: Places, id: string): string {
  return join(places.cache, `fork-${id}`);
}
