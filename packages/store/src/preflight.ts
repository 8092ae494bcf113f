import { execFile } from 'node:child_process';
import { access, constants, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { machine, release } from 'node:os';
import { promisify } from 'node:util';
import { decodeEnginePlan, decodeRestorePlan, storedName } from '@forkpoint/manifest';
import type { Manifest, ManifestFile, PlanPart } from '@forkpoint/manifest';
import { coversCpu, isAtLeast, parseCpuWords } from './cpu.ts';
import { errnoOf, reasonOf } from './error.ts';
import { PLAN_MAX, readManifest, RESTORE_PLAN_FILE } from './images.ts';
import { isNoexec } from './noexec.ts';
import { readRegular } from './read-file.ts';
import { otherJdk } from './runtime-build.ts';
import { slotProblem } from './ports.ts';

/** A short word for what stands in the way of a restore. */
export type FindingKind =
  | 'image'
  | 'newer'
  | 'machine'
  | 'cpu'
  | 'file'
  | 'layer'
  | 'address'
  | 'lock'
  | 'cwd'
  | 'pid'
  | 'engine'
  | 'launcher'
  | 'control';

/** One reason why an image cannot be restored here. */
export interface Finding {
  readonly kind: FindingKind;
  readonly message: string;
  readonly hint?: string;
}

/** What a preflight compares an image with. */
export interface PreflightOptions {
  /** File of the launcher. */
  readonly launcher: string;
  readonly enginePlan: string;
  /** Directory of the runs, from which a restore maps page files. */
  readonly runs: string;
}

const LAUNCHER_MS = 5000;
/** Of 64-bit kernels (include/linux/threads.h). */
const PID_MAX_LIMIT = 4_194_304;
const SETUP = 'Run `forkpoint setup`';
const AGAIN = 'Take the checkpoint again';

/** Returns every reason why an image cannot be restored on this machine now; empty when none was found. Changes nothing and starts no CRIU. */
export async function preflight(image: string, options: PreflightOptions): Promise<Finding[]> {
  let manifest: Manifest;
  try {
    manifest = await readManifest(image);
  } catch (error) {
    return [...(await engineFindings(options)), ...imageFinding(error)];
  }
  const groups = await Promise.all([
    engineFindings(options, manifest),
    cpuFindings(manifest, options),
    planFindings(image, manifest, options),
    filesFindings(manifest),
    addressFindings(manifest),
    cwdFindings(manifest),
    pidFindings(manifest),
    controlFindings(manifest),
  ]);
  return groups.flat();
}

function imageFinding(error: unknown): Finding[] {
  const hint =
    error instanceof Error && 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined;
  const isNewer = errnoOf(error) === 'ERR_FORKPOINT_MANIFEST_NEWER';
  return [
    {
      kind: isNewer ? 'newer' : 'image',
      message: error instanceof Error ? error.message : String(error),
      ...(hint === undefined ? {} : { hint }),
    },
  ];
}

async function engineFindings(options: PreflightOptions, manifest?: Manifest): Promise<Finding[]> {
  const found: Finding[] = [];
  if (!(await isExecutable(options.launcher))) {
    found.push({ kind: 'launcher', message: `the launcher ${options.launcher} is not there`, hint: SETUP });
  }
  try {
    const plan = decodeEnginePlan(await readFile(options.enginePlan));
    const program = plan.criu[0] ?? '';
    if (!(await isExecutable(program))) {
      found.push({ kind: 'engine', message: `the engine's file ${program} is not there`, hint: SETUP });
    }
    if (manifest !== undefined && !isAtLeast(plan.version, manifest.engine.criu)) {
      const message = `the image was taken with CRIU ${manifest.engine.criu}, and CRIU here is ${plan.version}`;
      found.push({ kind: 'engine', message, hint: SETUP });
    }
  } catch (error) {
    const why =
      errnoOf(error) === 'ENOENT'
        ? 'CRIU has not been set up'
        : `the engine plan cannot be used: ${reasonOf(error)}`;
    found.push({ kind: 'engine', message: why, hint: SETUP });
  }
  return found;
}

async function cpuFindings(manifest: Manifest, options: PreflightOptions): Promise<Finding[]> {
  if (manifest.host.arch !== machine()) {
    return [
      {
        kind: 'machine',
        message: `the image is for ${manifest.host.arch} machines, and this is ${machine()}`,
      },
    ];
  }
  let words: string[] | undefined;
  try {
    const { stdout } = await promisify(execFile)(options.launcher, ['cpu'], {
      timeout: LAUNCHER_MS,
      maxBuffer: 65_536,
    });
    words = parseCpuWords(stdout);
  } catch {
    // A launcher that is missing is found and told by engineFindings; without it nothing can be compared.
    return [];
  }
  if (words !== undefined && coversCpu(words, manifest.host.cpu)) return [];
  return [{ kind: 'cpu', message: 'the image needs processor features that this machine lacks' }];
}

async function planFindings(
  image: string,
  manifest: Manifest,
  { runs }: PreflightOptions,
): Promise<Finding[]> {
  try {
    const bytes = await readRegular(join(image, RESTORE_PLAN_FILE), PLAN_MAX);
    const { parts, layers, mapsCode } = decodeRestorePlan(bytes);
    const packed = manifest.layers.filter(({ compression }) => compression !== null);
    const isPacked = new Set(packed.map(({ file }) => file));
    const all = [...parts, ...layers.map(({ name, size }) => ({ name: `layers/${name}`, size }))];
    const found = await partFindings(image, [
      ...all.filter(({ name }) => !isPacked.has(name)),
      ...packed.map((layer) => ({ name: storedName(layer), size: layer.storedSize })),
    ]);
    return mapsCode && isNoexec(runs) ? [...found, noexecFinding(image, runs)] : found;
  } catch (error) {
    return [
      {
        kind: 'image',
        message: `the image's ${RESTORE_PLAN_FILE} cannot be used: ${reasonOf(error)}`,
        hint: AGAIN,
      },
    ];
  }
}

function noexecFinding(image: string, runs: string): Finding {
  return {
    kind: 'control',
    message: `the image maps code, and ${runs} is mounted noexec`,
    hint: `Mount it with exec, or run \`forkpoint flatten ${image}\`: its code is then copied`,
  };
}

async function partFindings(image: string, parts: readonly PlanPart[]): Promise<Finding[]> {
  const found = await Promise.all(
    parts.map(async ({ name, size }): Promise<Finding[]> => {
      try {
        const facts = await stat(join(image, name));
        if (facts.size === size) return [];
        return [
          {
            kind: 'layer',
            message: `the image's file ${name} has ${facts.size} bytes instead of ${size}`,
            hint: AGAIN,
          },
        ];
      } catch (error) {
        return [
          {
            kind: 'layer',
            message: `the image's file ${name} cannot be used: ${reasonOf(error)}`,
            hint: AGAIN,
          },
        ];
      }
    }),
  );
  return found.flat();
}

/** A JDK of another build changes many files: what has happened is told first. */
async function filesFindings(manifest: Manifest): Promise<Finding[]> {
  const found = await Promise.all(manifest.files.map(fileFindings));
  const changed = manifest.files.filter((_, index) => found[index]?.length !== 0).map(({ path }) => path);
  const jdk = await otherJdk(manifest, changed);
  const hint = 'Restore with the JDK that the image was taken with, or take the checkpoint again';
  return [...(jdk === undefined ? [] : [{ kind: 'file' as const, message: jdk, hint }]), ...found.flat()];
}

async function fileFindings(file: ManifestFile): Promise<Finding[]> {
  try {
    const facts = await stat(file.path, { bigint: true });
    const isSame =
      (file.size === null || facts.size === BigInt(file.size)) &&
      (file.mtimeNs === null || facts.mtimeNs === BigInt(file.mtimeNs));
    if (isSame) return [];
    return [
      {
        kind: 'file',
        message: `the file ${file.path} has changed since the checkpoint`,
        hint: AGAIN,
      },
    ];
  } catch (error) {
    const why = errnoOf(error) === 'ENOENT' ? 'is missing' : `cannot be used: ${reasonOf(error)}`;
    return [{ kind: 'file', message: `the file ${file.path} ${why}` }];
  }
}

async function addressFindings(manifest: Manifest): Promise<Finding[]> {
  const found: Finding[] = [];
  // One after the other: two slots of one address would otherwise stand in each other's way.
  for (const slot of manifest.slots) {
    const message = await slotProblem(slot);
    if (message === undefined) continue;
    const other = slot.kind === 'unix' ? 'PATH' : 'PORT';
    found.push({ kind: 'address', message, hint: `Give another address: --listen ${slot.id}=${other}` });
  }
  return found;
}

async function cwdFindings(manifest: Manifest): Promise<Finding[]> {
  try {
    if ((await stat(manifest.cwd)).isDirectory()) return [];
    return [{ kind: 'cwd', message: `the working directory ${manifest.cwd} is not a directory` }];
  } catch (error) {
    return [
      { kind: 'cwd', message: `the working directory ${manifest.cwd} cannot be used: ${reasonOf(error)}` },
    ];
  }
}

async function pidFindings(manifest: Manifest): Promise<Finding[]> {
  const limit = await pidLimit();
  const highest = manifest.processes.reduce((most, { pid, threads }) => Math.max(most, pid, ...threads), 0);
  if (highest < limit) return [];
  const message = `the image has the pid ${highest}, and pids here end at ${limit - 1}`;
  return [
    { kind: 'pid', message, hint: `Let an administrator run \`sysctl kernel.pid_max=${PID_MAX_LIMIT}\`` },
  ];
}

/** Returns the first pid that a pod cannot have. Since Linux 6.14 each pid namespace has a limit of its own, at first the largest (kernel/pid_namespace.c). */
async function pidLimit(): Promise<number> {
  if (isAtLeast(release(), '6.14')) return PID_MAX_LIMIT;
  return Number(await readFile('/proc/sys/kernel/pid_max', 'utf8'));
}

async function controlFindings(manifest: Manifest): Promise<Finding[]> {
  const wanted = manifest.controlDirectory;
  for (let at = wanted; ; at = dirname(at)) {
    try {
      if (!(await stat(at)).isDirectory()) return [{ kind: 'control', message: `${at} is not a directory` }];
      if (at === wanted) return [];
      await access(at, constants.W_OK);
      return [];
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' && at !== '/') continue;
      const message = `the control directory ${wanted} cannot be made: ${reasonOf(error)}`;
      return [
        {
          kind: 'control',
          message,
          hint: 'An image is restored with the FORKPOINT_HOME that it was taken with',
        },
      ];
    }
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    // Whatever the reason is, it cannot be started.
    return false;
  }
}
