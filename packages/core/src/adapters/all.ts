import { amqpAdapter } from './amqp.ts';
import { httpAdapter } from './http.ts';
import { ioredisAdapter } from './ioredis.ts';
import { pinoAdapter, winstonAdapter } from './logs.ts';
import { mysql2Adapter } from './mysql2.ts';
import { natsAdapter } from './nats.ts';
import { pgAdapter } from './pg.ts';
import { redisAdapter } from './redis.ts';
import { sqliteAdapter } from './sqlite.ts';
import type { Adapter } from './types.ts';
import { undiciAdapter } from './undici.ts';
import { watchAdapter } from './watch.ts';

/** Returns all adapters, each in its initial state. `directory` is the control directory. */
export function allAdapters(directory: string): Adapter[] {
  return [
    pgAdapter(),
    mysql2Adapter(),
    ioredisAdapter(),
    redisAdapter(),
    natsAdapter(),
    amqpAdapter(),
    sqliteAdapter(),
    pinoAdapter(),
    winstonAdapter(),
    watchAdapter(directory),
    httpAdapter(),
    undiciAdapter(),
  ];
}
