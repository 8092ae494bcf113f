const { join } = require('node:path');
const pino = require('pino');
const { serve } = require('./plain.cjs');

const direct = pino({}, pino.destination({ dest: join(process.env.DATA, 'direct.log'), sync: true }));
const buffered = pino({}, pino.destination({ dest: join(process.env.DATA, 'buffered.log'), sync: false }));
const threaded = pino(
  pino.transport({ target: 'pino/file', options: { destination: join(process.env.DATA, 'transport.log') } }),
);
serve({
  '/log': (query) => {
    for (const logger of [direct, buffered, threaded]) logger.info({ mark: query.get('mark') }, 'marked');
    return { logged: query.get('mark') };
  },
});
