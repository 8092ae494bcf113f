// `forkpoint/host`: images from outside of any program.
export {
  compress,
  createPool,
  decompress,
  diff,
  flatten,
  inspect,
  list,
  openImage,
  upgrade,
  verify,
} from '@forkpoint/supervisor/host';
