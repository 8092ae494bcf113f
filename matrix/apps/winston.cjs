const { join } = require('node:path');
const winston = require('winston');
const { serve } = require('./plain.cjs');

const logger = winston.createLogger({
  format: winston.format.json(),
  transports: [
    new winston.transports.Console(),
    new winston.transports.File({ filename: join(process.env.DATA, 'winston.log') }),
  ],
});
serve({
  '/log': (query) => {
    logger.info('marked', { mark: query.get('mark') });
    return { logged: query.get('mark') };
  },
});
