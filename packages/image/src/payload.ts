import { fromBinary, type Message } from '@bufbuild/protobuf';
import { ImageError } from './error.ts';
import type { bpfmap_data_entry } from './gen/bpfmap-data_pb.ts';
import { ipc_msgSchema, type ipc_msg_entry } from './gen/ipc-msg_pb.ts';
import type { ipc_sem_entry } from './gen/ipc-sem_pb.ts';
import type { ipc_shm_entry } from './gen/ipc-shm_pb.ts';
import type { pipe_data_entry } from './gen/pipe-data_pb.ts';
import type { sk_packet_entry } from './gen/sk-packet_pb.ts';
import type { tcp_stream_entry } from './gen/tcp-stream_pb.ts';
import type { MessageKind } from './kinds.ts';

/**
 * Returns how many raw bytes follow a message, after CRIU 4.2: criu/pipes.c, sk-queue.c, sk-tcp.c, ipc_ns.c, bpfmap.c.
 * `rest` are the bytes behind the message; only message queues need to look at them.
 */
export function payloadLength(
  kind: MessageKind,
  message: Message,
  rest: Uint8Array,
  file: string,
  offset: number,
): number {
  // The casts below follow from the kind: KINDS gives each its schema.
  switch (kind) {
    case 'pipes-data':
    case 'fifo-data':
      return (message as pipe_data_entry).bytes;
    case 'sk-queues':
      return (message as sk_packet_entry).length;
    case 'tcp-stream': {
      const { inqLen, outqLen } = message as tcp_stream_entry;
      return inqLen + outqLen;
    }
    case 'bpfmap-data': {
      const { keysBytes, valuesBytes } = message as bpfmap_data_entry;
      return keysBytes + valuesBytes;
    }
    case 'ipcns-sem':
      return roundUp(2 * (message as ipc_sem_entry).nsems, 8);
    case 'ipcns-shm': {
      const { inPagemaps, size } = message as ipc_shm_entry;
      // Since CRIU 3.x the content is in a pagemap of its own.
      return inPagemaps ? 0 : roundUp(Number(size), 4);
    }
    case 'ipcns-msg':
      return queueLength((message as ipc_msg_entry).qnum, rest, file, offset);
    default:
      return 0;
  }
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
      position = end + roundUp(fromBinary(ipc_msgSchema, rest.subarray(start, end)).msize, 8);
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
