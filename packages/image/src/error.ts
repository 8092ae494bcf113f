/** What can be wrong with the bytes of an image file. */
export type ImageErrorCode =
  /** The bytes end in the middle of something. */
  | 'ERR_FORKPOINT_IMAGE_TRUNCATED'
  /** The bytes do not begin with the magic numbers of their kind, or are no message of it. */
  | 'ERR_FORKPOINT_IMAGE_MALFORMED'
  /** A length or count is larger than the limit given to the decoder. */
  | 'ERR_FORKPOINT_IMAGE_LIMIT'
  /** A value is outside the range that CRIU writes, or files of one image contradict each other. */
  | 'ERR_FORKPOINT_IMAGE_INVALID'
  /** A file that the image must have is not there. */
  | 'ERR_FORKPOINT_IMAGE_MISSING';

/** Says what is wrong with an image file, and at which byte of which file. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  readonly code: ImageErrorCode;
  /** Name of the file inside the image directory. */
  readonly file: string;
  /** Offset in bytes from the start of the file, where known. */
  readonly offset: number | undefined;

  constructor(
    code: ImageErrorCode,
    file: string,
    what: string,
    options: { offset?: number; cause?: unknown } = {},
  ) {
    const place = options.offset === undefined ? file : `${file} at byte ${options.offset}`;
    super(`${place}: ${what}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.file = file;
    this.offset = options.offset;
  }
}
