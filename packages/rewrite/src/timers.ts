import type { Draft } from './draft.ts';

/**
 * Lets timers of timerfd_create(2) run on that had expired and were not read when the program was dumped: the kernel
 * shows no time left for them (fs/timerfd.c restarts an interval only when it is read), and CRIU would restore a timer
 * that is switched off. The next expiration is at most one interval away; where exactly is not known.
 */
export function restartTimers(draft: Draft): void {
  const files = draft.image.find('files', 'files.img');
  for (const { message } of files?.entries ?? []) {
    const timer = message.tfd;
    if (!files || !timer || timer.ticks === 0n) continue;
    if (timer.vsec !== 0n || timer.vnsec !== 0n || (timer.isec === 0n && timer.insec === 0n)) continue;
    timer.vsec = timer.isec;
    timer.vnsec = timer.insec;
    draft.touch(files);
  }
}
