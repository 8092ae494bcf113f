import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cradle, socketName } from '@forkpoint/core/family';
import type { ForkedChild } from '@forkpoint/core/family';
import { encodeChildPlan } from '@forkpoint/manifest';
import type { ChildStdio, ManifestSlot } from '@forkpoint/manifest';
import type { Places } from '@forkpoint/store';
import { SupervisorError } from '../error.ts';
import type { Starter } from './starter.ts';

/** What starts clones of images. */
export interface CloneMaker {
  readonly places: Places;
  readonly launcher: string;
  /** The package's directory, in which `dist` is. */
  readonly library: string;
  readonly env: NodeJS.ProcessEnv;
  /** Starts the launchers where this process is too big to do it itself. */
  readonly starter?: Starter;
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
  /** False keeps the random state of the image. */
  readonly isReseeded?: boolean;
  readonly sharesPorts?: boolean;
  readonly hostname?: string | undefined;
  readonly listen?: Readonly<Record<string, string>> | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly args?: readonly string[] | undefined;
}

/**
 * Starts a clone; what it has to say, failures included, comes over its line. Returns the launcher, or undefined when a starter
 * has started it.
 */
export async function startClone(maker: CloneMaker, order: CloneOrder): Promise<ChildProcess | undefined> {
  const { places, launcher, library } = maker;
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
      ...(order.isReseeded === false ? ['--no-reseed'] : []),
      ...Object.entries(listen).flatMap(([slot, address]) => ['--listen', `${slot}=${address}`]),
      ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
      ...(args.length === 0 ? [] : ['--', ...args]),
    ],
    worker: [process.execPath, join(library, 'dist', 'worker.cjs')],
  });
  await writeFile(join(directory, 'child.plan'), plan, { mode: 0o600 });
  if (maker.starter?.start(join(directory, 'child.plan')) === true) return undefined;
  const started = spawn(launcher, ['child', join(directory, 'child.plan')], {
    env: environmentOf(maker),
    stdio: 'ignore',
    detached: true,
  });
  // A launcher that cannot be executed never comes to its line.
  started.on('error', () => undefined);
  started.unref();
  return started;
}

/**
 * Starts a clone and resolves once its program runs; it ends with this process. Throws ERR_FORKPOINT_TIMEOUT, the signal's
 * reason, and what the clone's launcher has to say.
 */
export async function bringClone(
  maker: CloneMaker,
  order: Omit<CloneOrder, 'socket' | 'isDetached'>,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
): Promise<ForkedChild> {
  const { places } = maker;
  await mkdir(places.cache, { recursive: true, mode: 0o700 });
  const socket = join(places.cache, socketName());
  const cradle = new Cradle(socket, 1, {
    isDetached: false,
    needsChannel: false,
    hasStreams: order.stdio === 'pipe',
    first: order.index,
  });
  const timer = setTimeout(() => {
    const what = `a clone of ${order.image} did not come within ${timeoutMs} ms`;
    cradle.fail(new SupervisorError('ERR_FORKPOINT_TIMEOUT', what));
  }, timeoutMs);
  try {
    const started = await startClone(maker, { ...order, socket });
    started?.once('error', (error) => cradle.fail(error));
    const { children, errors } = await cradle.settle(signal);
    const [child] = children;
    if (child !== undefined) return child;
    throw errors[0] ?? new SupervisorError('ERR_FORKPOINT_POOL', `no clone of ${order.image} came`);
  } catch (error) {
    cradle.abort(error instanceof Error ? error : new Error(String(error)));
    await removeClone(places, order.id);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Returns the environment in which launchers of a maker start. */
export function environmentOf({ env, library }: Pick<CloneMaker, 'env' | 'library'>): NodeJS.ProcessEnv {
  return { ...env, FORKPOINT_LIB: library };
}

/** Addresses for the TCP slots of one of several clones: two cannot have one, and each shall get its own connections. */
export function ownPorts(slots: readonly ManifestSlot[]): Record<string, string> {
  const own = slots.flatMap((slot): [string, string][] =>
    slot.kind === 'tcp'
      ? [[slot.id, slot.address.includes(':') ? `[${slot.address}]:0` : `${slot.address}:0`]]
      : [],
  );
  return Object.fromEntries(own);
}

/** Removes what is left of a clone that did not come to live, or whose launcher was killed. */
export async function removeClone(places: Places, id: string): Promise<void> {
  for (const directory of [draftOf(places, id), join(places.runs, id)])
    // The launcher may be removing it as well.
    await rm(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 10 });
}

/** Where the plan lies until its launcher takes it over. */
function draftOf(places: Places, id: string): string {
  return join(places.cache, `fork-${id}`);
}
