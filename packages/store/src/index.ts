export { errnoOf, reasonOf, StoreError } from './error.ts';
export type { StoreErrorCode } from './error.ts';
export { goFinder, isGo } from './go.ts';
export { ensureHome, places, placesAt } from './places.ts';
export type { Places } from './places.ts';
export { checkName, defaultName, isId, newId } from './names.ts';
export { closeMatches } from './suggest.ts';
export { MAX_RECORD_BYTES, parseRunRecord, parseState } from './run-record.ts';
export type { RunRecord, RunState } from './run-record.ts';
export { findRun, isAttended, isLauncherAlive, isUnattended, listRuns, readRun, stateOf } from './runs.ts';
export type { Run } from './runs.ts';
export { memoryOf } from './proc.ts';
export { isNoexec } from './noexec.ts';
export { gone, processesOf, rootHostPid, signalRun } from './processes.ts';
export type { RunProcess } from './processes.ts';
export {
  isImage,
  MANIFEST_FILE,
  readManifest,
  resolveImage,
  RESTORE_PLAN_FILE,
  stateOfPlace,
} from './images.ts';
export type { PlaceState } from './images.ts';
export { syncPath, syncTree } from './sync.ts';
export { cleanStale, discard, openDestination, ownerOf, publish, temporaryName } from './publish.ts';
export type { Destination, Exchange, Published } from './publish.ts';
export { flatten } from './flatten.ts';
export type { Flattened, FlattenOptions, FlattenProgress } from './flatten.ts';
export { amendImage } from './amend.ts';
export { joined, PREFETCH_FILE } from './prefetch.ts';
export { launcherExchange } from './exchange.ts';
export { linkOrCopy } from './link-or-copy.ts';
export { askCheckpoint, waitForExit } from './ask.ts';
export type { Answer, WaitOptions } from './ask.ts';
export { coversCpu, isAtLeast, parseCpuWords } from './cpu.ts';
export { preflight } from './preflight.ts';
export type { Finding, FindingKind, PreflightOptions } from './preflight.ts';
export { filesOf, listDirectory, readEntry } from './entries.ts';
export type { Damaged, ImageEntry, Listing, Remembered, StoredFile } from './entries.ts';
export { listStore } from './image-index.ts';
export { ByteCount, hasLabels, lineageOf, usageOf } from './lineage.ts';
export type { LineageNode, StoreUsage, Usage } from './lineage.ts';
export { heldByRuns, runsOf } from './holdings.ts';
export { openContents, readContents } from './contents.ts';
export type { Area, AreaGroup, Descriptor, ImageContents, OpenContents } from './contents.ts';
export { diffImages } from './diff.ts';
export type { ComparedDescriptor, ComparedRegion, Difference, DiffOptions, ImageDiff } from './diff.ts';
export { selectByLabels } from './select.ts';
export { compressImage, compressInPlace, decompressImage } from './compress.ts';
export type { Compressed, CompressOptions } from './compress.ts';
export { DIGESTS_FILE, digestOf, readDigests, recordDigests } from './digests.ts';
export type { DigestOptions, Digests, MappedDigest } from './digests.ts';
export type { Watch } from './packing.ts';
export { rewriteImage } from './rewrite-image.ts';
export type { RewriteOptions } from './rewrite-image.ts';
export { unpackedDirectory } from './unpacked.ts';
export { repairImage, upgradeImage } from './repair.ts';
export type { Repaired } from './repair.ts';
export { bytesToVerify, verifyImage } from './verify.ts';
export type { Problem, Verification } from './verify.ts';
export { findDuplicates, shareDuplicate } from './dedup.ts';
export type { Duplicate } from './dedup.ts';
export { checkRemovable, removeImage } from './remove.ts';
export { expired } from './retention.ts';
export type { Expired, Retention } from './retention.ts';
export { findRubbish, removeRubbish } from './rubbish.ts';
export type { Rubbish, Surrounding } from './rubbish.ts';
export { isOwnerOver, ownOwner } from './owner.ts';
