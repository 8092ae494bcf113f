import type { Message } from '@bufbuild/protobuf';
import { ImageError } from './error.ts';
import type { ipc_msg, ipc_msg_entry } from './gen/ipc-msg_pb.ts';
import type { MessageKind, MessageOf } from './kinds.ts';
import { decodeMessage } from './message.ts';
import { schema } from './schema.ts';

const queued = schema<ipc_msg>('ipc_msg');

/**
 * How many raw bytes follow a message, after CRIU 4.2: criu/pipes.c, sk-queue.c, sk-tcp.c, ipc_ns.c, bpfmap.c. Message
 * queues are not here: `queueLength` has to walk over them.
 */
const LENGTHS: { readonly [Kind in MessageKind]?: (message: MessageOf<Kind>) => number } = {
  'pipes-data': ({ bytes }) => bytes,
  'fifo-data': ({ bytes }) => bytes,
  'sk-queues': ({ length }) => length,
  'tcp-stream': ({ inqLen, outqLen }) => inqLen + outqLen,
  'bpfmap-data': ({ keysBytes, valuesBytes }) => keysBytes + valuesBytes,
  'ipcns-sem': ({ nsems }) => roundUp(2 * nsems, 8),
  // Since CRIU 3.x the content is in a pagemap of its own.
  'ipcns-shm': ({ inPagemaps, size }) => (inPagemaps ? 0 : roundUp(Number(size), 4)),
};

/** Returns how many raw bytes follow a message; `rest` are the bytes behind it. Throws ImageError. */
export function payloadLength(
  kind: MessageKind,
  message: Message,
  rest: Uint8Array,
  file: string,
  offset: number,
): number {
  if (kind === 'ipcns-msg') return queueLength((message as ipc_msg_entry).qnum, rest, file, offset);
  const length = LENGTHS[kind] as ((message: Message) => number) | undefined; // `message` is of that kind
  return length?.(message) ?? 0;
}

/** Each message of a System V queue is a length, an ipc_msg and its text, padded to eight bytes. */
function queueLength(count: number, rest: Uint8Array, file: string, offset: number): number {
  const view = new DataView(rest.buffer, rest.byteOffset, rest.byteLength);
  let position = 0;
  for (let index = 0; index < count; index++) {
    const at = offset + position;
    if (position + 4 > rest.length) {
      throw new ImageError('ERR_FORKPOINT_IMAGE_TRUNCATED', file, 'the queue ends too early', { offset: at });
    }
    const start = position + 4;
    const end = start + view.getUint32(position, true);
    if (end > rest.length) {
      throw new ImageError('ERR_FORKPOINT_IMAGE_TRUNCATED', file, 'the queue ends too early', { offset: at });
    }
    try {
      position = end + roundUp(decodeMessage(queued(), rest.subarray(start, end)).msize, 8);
    } catch (cause) {
      throw new ImageError('ERR_FORKPOINT_IMAGE_MALFORMED', file, 'no ipc_msg message', {
        offset: at,
        cause,
      });
    }
  }
  return position;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
