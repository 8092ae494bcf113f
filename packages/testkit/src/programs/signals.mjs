// Says which signals reach it, and lives until it is killed.
for (const signal of [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGCONT',
]) {
  process.on(signal, () => console.log(`got ${signal}`));
}
setInterval(() => undefined, 1000);
console.log('listening');
