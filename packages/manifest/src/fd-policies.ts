import { CheckFailure, flag, integer, list, oneOf, plainObject, text } from './check.ts';
import type { Check } from './check.ts';
import { ManifestError } from './error.ts';

/** Name of the file that is looked for in the working directory of a program. */
export const POLICY_FILE = 'forkpoint.config.json';
/** Largest such file, in UTF-16 units. */
const LENGTH_MAX = 1 << 20;
const RULES_MAX = 1000;

/** What may happen to a descriptor at a checkpoint. */
export const POLICY_ACTIONS = ['close', 'reopen', 'slot', 'ignore', 'error'] as const;
export type PolicyAction = (typeof POLICY_ACTIONS)[number];

/** What a rule may speak of. */
export const POLICY_KINDS = [
  'file',
  'directory',
  'device',
  'pipe',
  'fifo',
  'tty',
  'tcp',
  'udp',
  'unix',
  'inotify',
  'eventfd',
  'timerfd',
  'signalfd',
  'memfd',
] as const;
export type PolicyKind = (typeof POLICY_KINDS)[number];

/** What each action can be done to; what is not listed here takes every kind. */
const POSSIBLE: Readonly<Partial<Record<PolicyAction, readonly PolicyKind[]>>> = {
  close: [
    'file',
    'device',
    'pipe',
    'fifo',
    'tcp',
    'udp',
    'unix',
    'inotify',
    'eventfd',
    'timerfd',
    'signalfd',
  ],
  reopen: ['file', 'tcp', 'unix'],
  slot: ['file', 'fifo', 'tcp', 'unix'],
};

/** One rule; fields that are absent match everything. */
export interface PolicyRule {
  readonly action: PolicyAction;
  readonly kind?: PolicyKind;
  /** Glob of a file's or unix socket's path: `*` within a name, `**` across directories, `?` one character. */
  readonly path?: string;
  /** Own address of an internet socket, `HOST:PORT`, in which `*` stands for anything. */
  readonly address?: string;
  /** Where a socket is connected to, `HOST:PORT` or a path. */
  readonly peer?: string;
  readonly fd?: number;
  readonly listening?: boolean;
  /** Name of the slot, for the action `slot`. */
  readonly slot?: string;
}

/** A descriptor as rules see it. */
export interface PolicyTarget {
  readonly kind: string;
  readonly fds: readonly number[];
  readonly path: string | null;
  readonly address: string | null;
  readonly peer: string | null;
  readonly isListening: boolean;
}

const FIELDS: Readonly<Record<string, Check<unknown>>> = {
  action: oneOf(...POLICY_ACTIONS),
  kind: oneOf(...POLICY_KINDS),
  path: text(4096),
  address: text(256, /^.+:(\d{1,5}|\*)$/),
  peer: text(4096),
  fd: integer(0, 1 << 30),
  listening: flag,
  slot: text(64, /^[A-Za-z0-9][A-Za-z0-9._-]*$/),
};

const rule: Check<PolicyRule> = (value, where) => {
  const source = plainObject(value, where);
  const found: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(source)) {
    const check = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
    if (check === undefined)
      throw new CheckFailure(
        `${where} has the unknown field "${name.slice(0, 40)}"; there are ${Object.keys(FIELDS).join(', ')}`,
      );
    found[name] = check(item, `${where}.${name}`);
  }
  if (found['action'] === undefined)
    throw new CheckFailure(`${where}.action is missing; it is one of ${POLICY_ACTIONS.join(', ')}`);
  // Every field was checked above, and the one that must be there is.
  const checked = found as unknown as PolicyRule;
  checkSense(checked, where);
  return checked;
};

function checkSense({ action, kind, slot, listening }: PolicyRule, where: string): void {
  const kinds = POSSIBLE[action];
  if (kinds !== undefined && (action === 'reopen' || action === 'slot') && kind === undefined) {
    throw new CheckFailure(
      `${where} has the action ${action} and therefore needs a kind: ${kinds.join(', ')}`,
    );
  }
  if (kind !== undefined && kinds !== undefined && !kinds.includes(kind)) {
    throw new CheckFailure(
      `${where} cannot have the action ${action} with the kind ${kind}; it takes ${kinds.join(', ')}`,
    );
  }
  const isSocket = kind === 'tcp' || kind === 'unix';
  if ((action === 'reopen' || action === 'slot') && isSocket && listening === false) {
    throw new CheckFailure(`${where} has the action ${action}, which only listening sockets can have`);
  }
  if (action === 'slot' && slot === undefined)
    throw new CheckFailure(`${where}.slot is missing: the name that --fd and --listen use`);
  if (action !== 'slot' && slot !== undefined)
    throw new CheckFailure(`${where}.slot has no meaning with the action ${action}`);
}

/**
 * Parses a policy file: JSON with the rules in `descriptors`. `where` names the file in errors.
 * Throws ERR_FORKPOINT_POLICY, naming the rule and the field.
 */
export function parseFdPolicies(content: string, where: string): PolicyRule[] {
  const wrong = (problem: string, cause?: unknown): ManifestError =>
    new ManifestError('ERR_FORKPOINT_POLICY', `${where} is not usable: ${problem}`, {
      hint: 'see docs/fd-policies.md',
      cause,
    });
  if (content.length > LENGTH_MAX) throw wrong(`it is longer than ${LENGTH_MAX} characters`);
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (cause) {
    throw wrong(`it is not JSON (${cause instanceof Error ? cause.message : String(cause)})`, cause);
  }
  try {
    const source = plainObject(value, '');
    const unknown = Object.keys(source).find((name) => name !== 'descriptors' && name !== '$schema');
    if (unknown !== undefined)
      throw new CheckFailure(
        `it has the unknown field "${unknown.slice(0, 40)}"; the rules are in "descriptors"`,
      );
    return list(rule, RULES_MAX)(source['descriptors'] ?? [], 'descriptors');
  } catch (error) {
    if (error instanceof CheckFailure) throw wrong(error.message);
    throw error;
  }
}

/** Returns the place of the first rule that matches, -1 when none does. */
export function matchPolicy(rules: readonly PolicyRule[], target: PolicyTarget): number {
  return rules.findIndex((one) => matches(one, target));
}

function matches(one: PolicyRule, target: PolicyTarget): boolean {
  const { action, kind, path, address, peer, fd, listening } = one;
  if (kind !== undefined && kind !== target.kind) return false;
  const kinds: readonly string[] | undefined = POSSIBLE[action];
  // A rule without a kind speaks of what its action can be done to.
  if (kinds !== undefined && !kinds.includes(target.kind)) return false;
  const needsListener = (action === 'reopen' || action === 'slot') && (kind === 'tcp' || kind === 'unix');
  const wanted = needsListener ? true : listening;
  if (wanted !== undefined && wanted !== target.isListening) return false;
  if (fd !== undefined && !target.fds.includes(fd)) return false;
  return (
    glob(path, target.path, true) &&
    glob(address, target.address, false) &&
    glob(peer, target.peer, peer?.startsWith('/') ?? false)
  );
}

function glob(pattern: string | undefined, value: string | null, isPath: boolean): boolean {
  if (pattern === undefined) return true;
  if (value === null) return false;
  const parts = pattern.split(/(\*\*\/?|\*|\?)/);
  const source = parts.map((part) => {
    if (part === '**/') return '(?:.*/)?';
    if (part === '**') return '.*';
    if (part === '*') return isPath ? '[^/]*' : '.*';
    if (part === '?') return isPath ? '[^/]' : '.';
    return part.replaceAll(/[\\^$.|+()[\]{}]/g, '\\$&');
  });
  return new RegExp(`^${source.join('')}$`, 's').test(value);
}
