import { realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Manifest } from '@forkpoint/manifest';
import { readRegular } from './read-file.ts';

const RELEASE_MAX = 65_536;

/**
 * Returns a sentence when a JDK has been exchanged under an image: which build the image was taken with, and which is there now.
 * `changed` are files of the image that are missing or have changed; undefined when the JVM's own are not among them.
 */
export async function otherJdk(manifest: Manifest, changed: readonly string[]): Promise<string | undefined> {
  const { runtime } = manifest;
  if (runtime?.name !== 'java') return undefined;
  const home = dirname(dirname(await realpath(runtime.path).catch(() => runtime.path)));
  const own = [join(home, 'lib/server/libjvm.so'), join(home, 'lib/modules'), runtime.path];
  if (!own.some((path) => changed.includes(path))) return undefined;
  const there = await releaseOf(home);
  return `the image belongs to the build ${runtime.version ?? '?'} of Java in ${home}, and ${there} is there now`;
}

/** The file `release` of a JDK has a version, which builds of several vendors may share. */
async function releaseOf(home: string): Promise<string> {
  try {
    const text = (await readRegular(join(home, 'release'), RELEASE_MAX)).toString('utf8');
    const value = (key: string): string | undefined => new RegExp(`^${key}="([^"]*)"`, 'm').exec(text)?.[1];
    const version = value('JAVA_RUNTIME_VERSION') ?? value('JAVA_VERSION');
    return version === undefined ? 'another build' : `another build, ${version},`;
  } catch {
    // There is no JDK any more, or one without this file.
    return 'another one, or none,';
  }
}
