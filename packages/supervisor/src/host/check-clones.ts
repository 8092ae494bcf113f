import { spawn } from 'node:child_process';
import type { ForkedChild } from '@forkpoint/core/family';
import { newId, readManifest } from '@forkpoint/store';
import { SupervisorError } from '../error.ts';
import { randomTokens } from '../tokens.ts';
import type { Token } from '../tokens.ts';
import { bringClone, ownPorts, removeClone } from './clones.ts';
import type { CloneMaker } from './clones.ts';

/** How clones are compared. */
export interface CloneCheck {
  readonly maker: CloneMaker;
  readonly image: string;
  /** Asks a clone, and prints its answers. */
  readonly probe: readonly string[];
  readonly cwd: string;
  /** Addresses by slot; `%i` stands for the number of the clone. */
  readonly listen: Readonly<Record<string, string>>;
  /** Tokens that are no finding. */
  readonly ignore: readonly RegExp[];
  readonly isReseeded: boolean;
  /** Longest time for a clone to be there, and for one answer, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** A token that both clones have answered with. */
export type FoundToken = Token;

/** What a comparison found. */
export interface CheckedClones {
  /** Drawn anew for each answer, and the same in both clones: they draw from the same place. */
  readonly repeated: readonly FoundToken[];
  /** The same in each answer of both clones: drawn before the checkpoint, or no secret at all. */
  readonly standing: readonly FoundToken[];
  /** Number of random tokens in all answers. */
  readonly tokens: number;
}

const CLONES = 2;
const ANSWER_MAX = 16 << 20;

/**
 * Restores an image twice, has the probe ask each clone twice, and compares what looks random in the answers. The clones are
 * ended in any case. Throws SupervisorError, and ERR_FORKPOINT_PROBE when the probe fails or its answers hold nothing random.
 */
export async function checkClones(check: CloneCheck): Promise<CheckedClones> {
  const { maker, image, timeoutMs, signal } = check;
  const { slots } = await readManifest(image);
  const clones: ForkedChild[] = [];
  try {
    for (let index = 0; index < CLONES; index++) {
      const own = Object.entries(check.listen).map(([slot, at]) => [
        slot,
        at.replaceAll('%i', String(index)),
      ]);
      const listen = { ...ownPorts(slots), ...Object.fromEntries(own) } as Record<string, string>;
      const order = {
        id: newId(),
        index,
        image,
        stdio: 'log' as const,
        listen,
        isReseeded: check.isReseeded,
      };
      clones.push(await bringClone(maker, order, { timeoutMs, signal }));
    }
    const answers: Map<string, Token>[][] = [];
    for (const clone of clones) answers.push([await ask(check, clone), await ask(check, clone)]);
    return compare(answers, check.ignore);
  } finally {
    for (const clone of clones) {
      clone.kill('SIGKILL');
      await clone.wait();
      await removeClone(maker.places, clone.id);
    }
  }
}

/** Runs the probe once and returns what looks random in its output. */
async function ask(check: CloneCheck, clone: ForkedChild): Promise<Map<string, Token>> {
  const { probe, cwd, maker, timeoutMs, signal } = check;
  const [file = '', ...args] = probe;
  const [address = ''] = clone.addresses.values();
  const addresses = [...clone.addresses].map(([slot, at]) => [
    `FORKPOINT_ADDRESS_${slot.replaceAll(/\W/g, '_').toUpperCase()}`,
    at,
  ]);
  const env = {
    ...maker.env,
    ...Object.fromEntries(addresses),
    FORKPOINT_RUN: clone.id,
    FORKPOINT_ADDRESS: address,
    FORKPOINT_PORT: /\d+$/.exec(address)?.[0] ?? '',
  };
  const asking = spawn(file, args, {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    ...(signal === undefined ? {} : { signal }),
  });
  let [answer, complaint] = ['', ''];
  asking.stdout
    .setEncoding('utf8')
    .on('data', (text: string) => (answer = (answer + text).slice(-ANSWER_MAX)));
  asking.stderr
    .setEncoding('utf8')
    .on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
  const end = await new Promise<string>((resolve) => {
    asking.once('error', (error) => resolve(error.message));
    asking.once('close', (code, killed) => resolve(code === 0 ? '' : `it ended with ${code ?? killed}`));
  });
  signal?.throwIfAborted();
  if (end === '') return randomTokens(answer);
  throw new SupervisorError(
    'ERR_FORKPOINT_PROBE',
    `the probe \`${file}\` failed: ${end} ${complaint.trim()}`.trim(),
    {
      hint: 'it finds the clone in FORKPOINT_RUN, and where it listens in FORKPOINT_ADDRESS and FORKPOINT_PORT',
    },
  );
}

function compare(answers: readonly Map<string, Token>[][], ignore: readonly RegExp[]): CheckedClones {
  const all = new Map(answers.flat().flatMap((answer) => [...answer]));
  if (all.size === 0) {
    throw new SupervisorError(
      'ERR_FORKPOINT_PROBE',
      'the answers of the probe hold nothing that looks random',
      {
        hint: 'let it ask for what has to differ: ids, tokens, cookies, keys',
      },
    );
  }
  const common = [...all.values()].filter(
    ({ text }) =>
      !ignore.some((one) => one.test(text)) && answers.every((of) => of.some((one) => one.has(text))),
  );
  const isStanding = ({ text }: Token): boolean => answers.every((of) => of.every((one) => one.has(text)));
  return {
    repeated: common.filter((token) => !isStanding(token)),
    standing: common.filter(isStanding),
    tokens: all.size,
  };
}
