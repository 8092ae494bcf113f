import { Queue, QueueEvents, Worker } from 'bullmq';
import { serve } from './plain.cjs';

const { hostname, port } = new URL(process.env.REDIS_URL);
const connection = { host: hostname, port: Number(port), maxRetriesPerRequest: null };
const queue = new Queue('squares', { connection });
const events = new QueueEvents('squares', { connection });
const worker = new Worker('squares', async (job) => job.data.of ** 2, { connection, concurrency: 4 });
for (const part of [queue, events, worker])
  part.on('error', (error) => console.log(`bullmq: ${error.message}`));
await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), worker.waitUntilReady()]);
serve({
  '/square': async (query) => {
    const job = await queue.add('square', { of: Number(query.get('of')) });
    return { square: await job.waitUntilFinished(events, 5000) };
  },
});
