import { readManifest } from '@forkpoint/store';
import { compress, decompress, flatten } from './change.ts';
import { verify } from './check.ts';
import { diff, inspect } from './look.ts';
import { pathOf } from './places.ts';
import type { HostOptions, Image, ImageManifest } from './types.ts';

/**
 * Opens an image by its path (with a `/` in it, or with `.` at its beginning) or by its name in the store. It keeps nothing
 * open: each method looks at what lies there then. Rejects with ERR_FORKPOINT_IMAGE_NOT_FOUND and ERR_FORKPOINT_IMAGE_INVALID.
 */
export async function openImage(image: string, options: HostOptions = {}): Promise<Image> {
  const path = pathOf(image, options);
  const { home, cwd } = options;
  const given = { home, cwd };
  let manifest: ImageManifest = await readManifest(path);
  const changed = <T extends { readonly image: string; readonly manifest: ImageManifest }>(result: T): T => {
    if (result.image === path) ({ manifest } = result);
    return result;
  };
  return {
    path,
    get id() {
      return manifest.id;
    },
    get manifest() {
      return manifest;
    },
    inspect: async (more) => await inspect(path, { ...given, ...more }),
    diff: async (other, more) =>
      await diff(path, typeof other === 'string' ? other : other.path, { ...given, ...more }),
    verify: async (more) => await verify(path, { ...given, ...more }),
    compress: async (more) => changed(await compress(path, { ...given, ...more })),
    decompress: async (more) => changed(await decompress(path, { ...given, ...more })),
    flatten: async (more) => changed(await flatten(path, { ...given, ...more })),
  };
}
