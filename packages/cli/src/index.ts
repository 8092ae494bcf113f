export { processContext } from './context.ts';
export type { Cli } from './context.ts';
export { CliError, EXIT } from './error.ts';
export { isPreloadable, withPreload, withRequire } from './node-options.ts';
export { runCommandLine } from './program.ts';
