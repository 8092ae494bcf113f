export { chunkHeaders } from './chunks.ts';
export type { PagesReader, Run } from './chunks.ts';
export { inheritedLayers, link } from './link.ts';
export type { LayerMove, LinkOptions, LinkResult, RangeReader } from './link.ts';
export { linkProcess } from './link-process.ts';
export type { LinkedMemory, LinkReport } from './link-process.ts';
export { adoptLayers, LAYERS, moveLayers } from './move.ts';
export { reasonAgainst, RULES } from './policy.ts';
export type { ProcessFacts, Reason } from './policy.ts';
