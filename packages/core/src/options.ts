import { CheckpointException } from './errors.ts';
import type { CheckpointOptions } from './types.ts';

const NAMES: readonly string[] = ['labels', 'timeoutMs', 'link', 'compress', 'sync'];

/**
 * Returns the fields of a request; throws CheckpointException ERR_FORKPOINT_OPTIONS for values of the wrong type.
 */
export function checkpointRequest(
  stop: boolean,
  dest: string | undefined,
  options: CheckpointOptions,
): Readonly<Record<string, unknown>> {
  if (dest !== undefined && (typeof dest !== 'string' || dest === '')) {
    throw invalid('the destination of a checkpoint is a path or a name', dest);
  }
  if (typeof options !== 'object' || options === null)
    throw invalid('checkpoint options are an object', options);
  const unknownName = Object.keys(options).find((name) => !NAMES.includes(name));
  if (unknownName !== undefined) throw invalid('there is no such checkpoint option', unknownName);
  const { labels, timeoutMs, link, compress, sync } = options;
  const isLabels = typeof labels === 'object' && labels !== null && !Array.isArray(labels);
  if (
    labels !== undefined &&
    !(isLabels && Object.values(labels).every((label) => typeof label === 'string'))
  ) {
    throw invalid('labels are an object of strings', labels);
  }
  if (timeoutMs !== undefined && !(Number.isFinite(timeoutMs) && timeoutMs > 0)) {
    throw invalid('timeoutMs is a number of milliseconds above 0', timeoutMs);
  }
  for (const flag of [link, sync]) {
    if (flag !== undefined && typeof flag !== 'boolean')
      throw invalid('link and sync are true or false', flag);
  }
  if (compress !== undefined && compress !== 'zstd') throw invalid("compress is 'zstd'", compress);
  // JSON leaves out what is undefined.
  return { to: dest, cwd: process.cwd(), stop, labels, timeoutMs, link, compress, sync };
}

function invalid(rule: string, value: unknown): CheckpointException {
  const message = `${rule}, not ${JSON.stringify(value) ?? String(value)}`;
  return new CheckpointException({ code: 'ERR_FORKPOINT_OPTIONS', message });
}
