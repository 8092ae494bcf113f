import { main } from './worker.ts';

main()
  .then((code) => {
    process.exitCode = code;
  })
  .catch((error: unknown) => {
    // Nothing was promised to anybody yet, or the launcher's end is gone; it answers for us.
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    process.exitCode = 70;
  })
  .finally(() => {
    // The launcher's pipe would keep the process: everything has been said.
    process.stdin.destroy();
  });
