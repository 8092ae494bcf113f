import type { ImageList, ListOptions } from './types.ts';
import { listedImage, viewStore } from './view.ts';

/**
 * Lists the images of the store, or of a directory, with who uses their bytes. Damaged ones are listed as such. Rejects with
 * ERR_FORKPOINT_IMAGE_NOT_FOUND when the directory cannot be listed.
 */
export async function list(options: ListOptions = {}): Promise<ImageList> {
  const view = await viewStore(options);
  const { totalBytes, runningOnlyBytes } = view.usage;
  return {
    images: view.images.map((image) => listedImage(image, view)),
    damaged: view.damaged,
    totalBytes,
    runningOnlyBytes,
  };
}
