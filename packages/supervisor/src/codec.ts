// What reads and writes CRIU's images. A start that needs none of it must not pay for it: commands import this file late.
export { attach } from './attach.ts';
export type { Attached, Attachment } from './attach.ts';
export { linkImage } from './link-image.ts';
