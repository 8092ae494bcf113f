// amqplib against RabbitMQ: calls, confirmed messages, a consumer that goes on, and one that has not acknowledged.
import { connect } from 'amqplib';
import { refusal, rounds, say } from './rounds.mjs';

const [, , image, port] = process.argv;
const connection = await connect(`amqp://127.0.0.1:${port}`);
const channel = await connection.createChannel();
const confirmed = await connection.createConfirmChannel();
await channel.prefetch(5);
for (const queue of ['shared', 'log', 'slow']) await channel.assertQueue(queue, { durable: false });

let phase = 'start';
/** Texts of the messages that the consumer of `shared` has got, and in which phase. */
const got = [];
let wake = () => undefined;
await channel.consume('shared', (message) => {
  got.push([phase, message.content.toString()]);
  channel.ack(message);
  wake();
});

// A message that is not acknowledged is in the way.
confirmed.sendToQueue('slow', Buffer.from('slow'));
await confirmed.waitForConfirms();
const slow = await channel.get('slow');
say('refused', await refusal(image));
channel.ack(slow);

// Under way when the checkpoint is asked for: each is stored once, and consumed once.
for (let number = 0; number < 100; number++) confirmed.sendToQueue('log', Buffer.from(`log ${number}`));
for (let number = 0; number < 20; number++) confirmed.sendToQueue('shared', Buffer.from(`burst ${number}`));

/** Sends to all who consume from `shared`, in turn, until this process has got one. */
async function untilServed() {
  for (let turn = 0; turn < 500; turn++) {
    const served = new Promise((resolve) => (wake = resolve));
    confirmed.sendToQueue('shared', Buffer.from(phase));
    await confirmed.waitForConfirms();
    await Promise.race([served, new Promise((resolve) => setTimeout(resolve, 20))]);
    if (got.some(([when, text]) => when === phase && !text.startsWith('burst'))) return true;
  }
  return false;
}

await rounds({
  use: async (name) => {
    phase = name;
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const answer = new Promise((resolve) => channel.consume(queue, resolve, { noAck: true }));
    channel.sendToQueue(queue, Buffer.from(`echo ${name}`));
    const { content } = await answer;
    await channel.deleteQueue(queue);
    const isServed = await untilServed();
    const { messageCount } = await channel.checkQueue('log');
    const bursts = got.filter(([, text]) => text.startsWith('burst'));
    return {
      queue,
      isServed,
      messageCount,
      answer: content.toString(),
      bursts: bursts.map(([, text]) => text),
      late: bursts.filter(([when]) => when === name).length,
    };
  },
  leave: async () => await connection.close(),
});
