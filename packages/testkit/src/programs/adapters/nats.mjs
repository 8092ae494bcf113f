// nats against a NATS server: publications, a subscription and requests.
import { connect, StringCodec } from 'nats';
import { rounds } from './rounds.mjs';

const [, , , port] = process.argv;
const codec = StringCodec();
const connection = await connect({ servers: `127.0.0.1:${port}` });
const got = [];
connection.subscribe(`echo.${process.pid}`, {
  callback: (_error, message) => message.respond(codec.encode(`echo ${codec.decode(message.data)}`)),
});
connection.subscribe('all.>', { callback: (_error, message) => got.push(codec.decode(message.data)) });
// On their way when the checkpoint is asked for: each is to arrive once in the process that goes on.
for (let number = 0; number < 100; number++)
  connection.publish('all.before', codec.encode(`before ${number}`));
await rounds({
  use: async (phase) => {
    const answer = await connection.request(`echo.${process.pid}`, codec.encode(phase), { timeout: 10_000 });
    await connection.flush();
    const { client_id: id } = connection.info;
    return {
      id,
      answer: codec.decode(answer.data),
      before: got.filter((text) => text.startsWith('before')).length,
    };
  },
  leave: async () => await connection.close(),
});
