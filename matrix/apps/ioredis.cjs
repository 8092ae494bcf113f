const { Redis } = require('ioredis');
const { serve } = require('./plain.cjs');

const redis = new Redis(process.env.REDIS_URL);
redis.on('error', (error) => console.log(`redis: ${error.message}`));
redis.set('matrix:first', 'first').then(() =>
  serve({
    '/visit': async () => ({ id: await redis.incr('matrix:visits') }),
    '/first': async () => ({ who: await redis.get('matrix:first') }),
  }),
);
