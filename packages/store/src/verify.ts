import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeRestorePlan, storedName } from '@forkpoint/manifest';
import type { Manifest } from '@forkpoint/manifest';
import { digestOf, DIGESTS_FILE, isDraft, readDigests } from './digests.ts';
import type { Digests } from './digests.ts';
import { filesOf } from './entries.ts';
import { errnoOf, reasonOf, worded } from './error.ts';
import { PLAN_MAX, readManifest, RESTORE_PLAN_FILE } from './images.ts';
import { readRegular } from './read-file.ts';
import type { Watch } from './packing.ts';

/** Something in an image that is not as it was. */
export interface Problem {
  readonly kind: 'missing' | 'size' | 'content' | 'unexpected' | 'manifest' | 'plan' | 'digests' | 'mapped';
  /** Name in the image directory, or the path of a mapped file. */
  readonly file: string;
  readonly message: string;
}

/** What became of a verification. */
export interface Verification {
  readonly image: string;
  readonly id: string | null;
  /** Whether there are digests to compare with; without them only sizes were compared. */
  readonly hasDigests: boolean;
  readonly problems: readonly Problem[];
  /** Bytes that were read. */
  readonly bytes: number;
}

/**
 * Reads everything that an image consists of, the mapped files of the program included, and compares it with the digests
 * that were computed when it was taken. Changes nothing. Throws system errors, and the reason of the signal.
 */
export async function verifyImage(image: string, watch: Watch = {}): Promise<Verification> {
  try {
    return await verify(image, watch);
  } catch (error) {
    throw worded(error, 'ERR_FORKPOINT_DIGEST', `${image} cannot be verified`);
  }
}

async function verify(image: string, watch: Watch): Promise<Verification> {
  const problems: Problem[] = [];
  let bytes = 0;
  const counted: Watch = {
    signal: watch.signal,
    onBytes: (count) => {
      bytes += count;
      watch.onBytes?.(count);
    },
  };
  let manifest: Manifest | undefined;
  let digests: Digests | null = null;
  try {
    manifest = await readManifest(image);
  } catch (error) {
    if (errnoOf(error) === 'ERR_FORKPOINT_IMAGE_NOT_FOUND') throw error;
    problems.push({ kind: 'manifest', file: 'manifest.json', message: reasonOf(error) });
  }
  try {
    digests = await readDigests(image);
  } catch (error) {
    problems.push({ kind: 'digests', file: DIGESTS_FILE, message: reasonOf(error) });
  }
  problems.push(...(await planProblems(image, manifest)));
  if (manifest !== undefined) problems.push(...(await sizeProblems(image, manifest)));
  if (digests !== null) {
    if (manifest !== undefined && digests.image !== manifest.id)
      problems.push({
        kind: 'manifest',
        file: 'manifest.json',
        message: `the manifest is of the image ${manifest.id}, and the digests of ${digests.image}`,
      });
    const known = new Set(problems.map(({ file }) => file));
    for (const problem of await contentProblems(image, digests, counted))
      if (!known.has(problem.file)) problems.push(problem);
    problems.push(...(await mappedProblems(digests, counted)));
  }
  return { image, id: manifest?.id ?? null, hasDigests: digests !== null, problems, bytes };
}

/** Returns how many bytes a verification reads; 0 when there are no digests. Never throws. */
export async function bytesToVerify(image: string): Promise<number> {
  const digests = await readDigests(image).catch(() => null);
  if (digests === null) return 0;
  return [...Object.values(digests.files), ...digests.mapped].reduce((sum, { size }) => sum + size, 0);
}

async function planProblems(image: string, manifest: Manifest | undefined): Promise<Problem[]> {
  const problem = (message: string): Problem[] => [{ kind: 'plan', file: RESTORE_PLAN_FILE, message }];
  try {
    const plan = decodeRestorePlan(await readRegular(join(image, RESTORE_PLAN_FILE), PLAN_MAX));
    if (manifest !== undefined && plan.image !== manifest.id)
      return problem(`the plan is of the image ${plan.image}, and the manifest of ${manifest.id}`);
    const packed = new Set(
      manifest?.layers.filter((layer) => layer.compression !== null).map(({ file }) => file),
    );
    const found = await Promise.all(
      plan.parts
        .filter(({ name }) => !packed.has(name))
        .map(async ({ name, size }) => await sizeProblem(image, name, size)),
    );
    return found.flat();
  } catch (error) {
    return problem(reasonOf(error));
  }
}

async function sizeProblems(image: string, manifest: Manifest): Promise<Problem[]> {
  const layers = manifest.layers.filter(
    ({ file, compression }) => compression !== null || file.startsWith('layers/'),
  );
  const found = await Promise.all(
    layers.map(async (layer) => await sizeProblem(image, storedName(layer), layer.storedSize)),
  );
  return found.flat();
}

async function sizeProblem(image: string, file: string, size: number): Promise<Problem[]> {
  const facts = await lstat(join(image, file)).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  });
  if (facts === undefined) return [{ kind: 'missing', file, message: `${file} is missing` }];
  if (!facts.isFile()) return [{ kind: 'content', file, message: `${file} is no regular file` }];
  if (facts.size === size) return [];
  return [{ kind: 'size', file, message: `${file} has ${facts.size} bytes instead of ${size}` }];
}

async function contentProblems(image: string, digests: Digests, watch: Watch): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const [file, expected] of Object.entries(digests.files)) {
    watch.signal?.throwIfAborted();
    const bySize = await sizeProblem(image, file, expected.size);
    problems.push(...bySize);
    if (bySize.length > 0) continue;
    const { sha256 } = await digestOf(join(image, file), watch);
    if (sha256 !== expected.sha256)
      problems.push({
        kind: 'content',
        file,
        message: `${file} has other content than when the image was taken`,
      });
  }
  for (const { name } of await filesOf(image)) {
    if (name === DIGESTS_FILE || isDraft(name) || Object.hasOwn(digests.files, name)) continue;
    problems.push({
      kind: 'unexpected',
      file: name,
      message: `${name} was not there when the image was taken`,
    });
  }
  return problems;
}

async function mappedProblems(digests: Digests, watch: Watch): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const { path, size, sha256 } of digests.mapped) {
    const problem = (message: string): void => void problems.push({ kind: 'mapped', file: path, message });
    try {
      const found = await digestOf(path, watch);
      if (found.size !== size || found.sha256 !== sha256)
        problem(`${path} has changed since the image was taken`);
    } catch (error) {
      watch.signal?.throwIfAborted();
      problem(`${path} cannot be read: ${reasonOf(error)}`);
    }
  }
  return problems;
}
