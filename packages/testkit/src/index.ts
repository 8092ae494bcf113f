export { eventually, Running, runToEnd } from './process.ts';
export type { Finished, SpawnOptions } from './process.ts';
export { createPerson } from './person.ts';
export type { Person } from './person.ts';
export { fetchText } from './web.ts';
export { nodeBinary, programPath, root, testCommand } from './places.ts';
export type { NodeMajor } from './places.ts';
export {
  startMariadb,
  startMemcached,
  startNats,
  startPostgres,
  startRabbitmq,
  startRedis,
} from './servers.ts';
export type { TestServer } from './servers.ts';
