// `forkpoint/host`: images from outside of any program.
export {
  compress,
  decompress,
  diff,
  flatten,
  inspect,
  list,
  openImage,
  upgrade,
  verify,
} from '@forkpoint/supervisor/host';
