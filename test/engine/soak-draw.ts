// The operations of a soak, drawn from a seed: the same seed gives the same list, whatever comes of each. Pure.

/** Who is killed in the course of an operation, and how long after it was seen first. */
export interface Strike {
  readonly victim: 'command' | 'worker' | 'launcher' | 'criu';
  readonly afterMs: number;
}

/** Something that a user does, or that happens to them. Runs and images have slots: p0, p1 ... and i0, i1 ... */
export type Operation =
  | { readonly kind: 'run'; readonly slot: string }
  | { readonly kind: 'end'; readonly slot: string }
  | {
      readonly kind: 'checkpoint';
      readonly slot: string;
      readonly image: string;
      readonly flags: readonly string[];
      readonly strike?: Strike;
    }
  | { readonly kind: 'restore'; readonly image: string; readonly slot: string; readonly strike?: Strike }
  | { readonly kind: 'fork'; readonly slot: string; readonly to: string }
  | {
      readonly kind: 'change';
      readonly verb: 'flatten' | 'compress' | 'decompress' | 'verify';
      readonly image: string;
      readonly strike?: Strike;
    }
  | { readonly kind: 'rm'; readonly image: string; readonly isForced: boolean; readonly strike?: Strike }
  | { readonly kind: 'gc'; readonly flags: readonly string[]; readonly strike?: Strike }
  | { readonly kind: 'look'; readonly verb: 'ls' | 'tree' | 'du' | 'ps' }
  | { readonly kind: 'full'; readonly slot: string; readonly image: string; readonly freeKb: number };

/** What is done at once. */
export type Step = readonly Operation[];

export const RUNS = ['p0', 'p1', 'p2'];
export const IMAGES = ['i0', 'i1', 'i2', 'i3', 'i4'];
/** On a file system that is too small. */
export const SMALL = ['./small/f0', './small/f1'];

/** Returns the steps of a seed, without an end. */
export function* drawSteps(seed: number): Generator<Step> {
  const draw = new Draw(seed);
  // There has to be something to begin with.
  yield [{ kind: 'run', slot: 'p0' }];
  yield [{ kind: 'checkpoint', slot: 'p0', image: 'i0', flags: [] }];
  for (;;) {
    const first = drawOperation(draw);
    const isCrowded = draw.chance(0.2);
    const second = drawOperation(draw);
    yield isCrowded ? [first, second] : [first];
  }
}

/** Returns an operation in words. */
export function tell(operation: Operation): string {
  const struck =
    'strike' in operation && operation.strike !== undefined
      ? `, ${operation.strike.victim} killed after ${operation.strike.afterMs} ms`
      : '';
  switch (operation.kind) {
    case 'run':
    case 'end':
      return `${operation.kind} ${operation.slot}`;
    case 'checkpoint':
      return `checkpoint ${[operation.slot, operation.image, ...operation.flags].join(' ')}${struck}`;
    case 'restore':
      return `restore ${operation.image} as ${operation.slot}${struck}`;
    case 'fork':
      return `fork ${operation.slot} as ${operation.to}`;
    case 'change':
      return `${operation.verb} ${operation.image}${struck}`;
    case 'rm':
      return `rm ${operation.image}${operation.isForced ? ' --force' : ''}${struck}`;
    case 'gc':
      return `gc ${operation.flags.join(' ')}${struck}`.trim();
    case 'look':
      return operation.verb;
    case 'full':
    default:
      return `checkpoint ${operation.slot} ${operation.image} with ${operation.freeKb} kB free`;
  }
}

function drawOperation(draw: Draw): Operation {
  const kind = draw.weighted({
    run: 2,
    end: 1,
    checkpoint: 9,
    restore: 7,
    fork: 2,
    change: 8,
    rm: 3,
    gc: 2,
    look: 2,
    full: 2,
  });
  // Each draws as often as any other, so that a new kind of operation changes no other one of a seed.
  const [slot, other, image, small] = [
    draw.of(RUNS),
    draw.of(RUNS),
    draw.of([...IMAGES, ...SMALL]),
    draw.of(SMALL),
  ];
  const [flags, verb, isForced] = [drawFlags(draw), drawVerb(draw), draw.chance(0.5)];
  const [looks, freeKb] = [draw.of(['ls', 'tree', 'du', 'ps'] as const), draw.below(24_000)];
  const [stricken, isStop] = [drawStrike(draw), draw.chance(0.15)];
  const strike = stricken === undefined ? {} : { strike: stricken };
  switch (kind) {
    case 'run':
    case 'end':
      return { kind, slot };
    case 'checkpoint':
      return { kind, slot, image, flags: isStop ? [...flags, '--stop'] : flags, ...strike };
    case 'restore':
      return { kind, image, slot, ...strike };
    case 'fork':
      return { kind, slot, to: other };
    case 'change':
      return { kind, verb, image, ...commandOnly(strike) };
    case 'rm':
      return { kind, image, isForced, ...commandOnly(strike) };
    case 'gc':
      return { kind, flags: isForced ? ['--keep', '4'] : [], ...commandOnly(strike) };
    case 'look':
      return { kind, verb: looks };
    case 'full':
    default:
      return { kind, slot, image: small, freeKb };
  }
}

function drawFlags(draw: Draw): readonly string[] {
  return draw.of([[], [], ['--no-link'], ['--compress'], ['--compress', '--no-link'], ['--no-sync']]);
}

function drawVerb(draw: Draw): 'flatten' | 'compress' | 'decompress' | 'verify' {
  return draw.of(['flatten', 'compress', 'decompress', 'verify'] as const);
}

function drawStrike(draw: Draw): Strike | undefined {
  const [isStruck, afterMs] = [draw.chance(0.35), draw.below(120)];
  const victim = draw.of(['command', 'worker', 'launcher', 'criu'] as const);
  return isStruck ? { victim, afterMs } : undefined;
}

/** Only the command takes part in what happens outside of pods. */
function commandOnly({ strike }: { strike?: Strike }): { strike?: Strike } {
  return strike === undefined
    ? {}
    : { strike: { ...strike, victim: 'command', afterMs: strike.afterMs * 4 } };
}

/** Random numbers from a seed (mulberry32). */
class Draw {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  chance(share: number): boolean {
    return this.below(1_000_000) < share * 1_000_000;
  }

  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('there is nothing to draw from');
    return item;
  }

  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const names = Object.keys(weights) as K[];
    return this.of(names.flatMap((name) => Array.from({ length: weights[name] }, () => name)));
  }
}
