import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { matchPolicy, parseFdPolicies, POLICY_FILE } from '@forkpoint/manifest';
import type { PolicyRule, PolicyTarget, Resource } from '@forkpoint/manifest';
import type { PolicyOf } from '@forkpoint/rewrite';
import { describeView } from './descriptors.ts';
import type { DescriptorView } from './descriptors.ts';
import { readLink, readText } from './proc.ts';

/** Variable with the path of the file that `forkpoint run --fd-policy` names; clones inherit it like any other. */
const VARIABLE = 'FORKPOINT_FD_POLICY';

/** The rules for a program's descriptors, and where they stand. */
export interface Policies {
  readonly path: string;
  readonly rules: readonly PolicyRule[];
}

/** No rules at all. */
export const NO_POLICIES: Policies = { path: POLICY_FILE, rules: [] };

/**
 * Reads the rules of a program: the file that its environment names, else forkpoint.config.json in its working
 * directory, else none. They are read at every checkpoint, so that a change takes effect without a restart.
 * Throws ERR_FORKPOINT_POLICY when the file is malformed or the named one cannot be read.
 */
export function readPolicies(root: number): Policies {
  const environment = (readText(`/proc/${root}/environ`) ?? '').split('\0');
  const named = environment.find((entry) => entry.startsWith(`${VARIABLE}=`))?.slice(VARIABLE.length + 1);
  const cwd = readLink(`/proc/${root}/cwd`);
  if ((named === undefined || named === '') && cwd === null) return NO_POLICIES;
  const path = named === undefined || named === '' ? join(cwd ?? '/', POLICY_FILE) : named;
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch (error) {
    const isAbsent = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (isAbsent && path !== named) return NO_POLICIES;
    throw error;
  }
  return { path, rules: parseFdPolicies(content, path) };
}

/** Returns the rule that a living descriptor matches; standard streams are slots in any case. */
export function ruleFor({ rules }: Policies, view: DescriptorView): PolicyRule | undefined {
  return view.fd <= 2 ? undefined : rules[matchPolicy(rules, targetOf(view))];
}

/** Returns the finding for a descriptor that a rule refuses; null for all others. */
export function policyFinding(policies: Policies, view: DescriptorView): Resource | null {
  const at = view.fd <= 2 ? -1 : matchPolicy(policies.rules, targetOf(view));
  if (policies.rules[at]?.action !== 'error') return null;
  return {
    pid: view.pid,
    fd: view.fd,
    kind: 'policy',
    what: `${describeView(view)} is refused by rule ${at + 1} of ${policies.path}`,
  };
}

function targetOf({ fd, kind, path, socket }: DescriptorView): PolicyTarget {
  const isInternet = socket !== null && socket.kind !== 'unix';
  return {
    kind,
    fds: [fd],
    path,
    address: isInternet ? socket.address : null,
    peer: socket?.peer ?? null,
    isListening: socket?.isListening ?? false,
  };
}

/** Returns the rules as the rewriting of an image asks for them; undefined when there are none. */
export function policyOf({ path, rules }: Policies): PolicyOf | undefined {
  if (rules.length === 0) return undefined;
  return (description, places) => {
    const { sort, address, port } = description;
    const host = address?.includes(':') === true ? `[${address}]` : address;
    const target: PolicyTarget = {
      kind: sort,
      fds: places.map(({ fd }) => fd),
      path: description.path ?? null,
      address: host === undefined || port === undefined ? null : `${host}:${port}`,
      peer: description.peer ?? null,
      isListening: description.state === 'listen',
    };
    const at = matchPolicy(rules, target);
    const rule = rules[at];
    if (rule === undefined) return undefined;
    return {
      action: rule.action,
      ...(rule.slot === undefined ? {} : { slot: rule.slot }),
      ...(rule.action === 'error'
        ? { reason: `${target.path ?? sort} is refused by rule ${at + 1} of ${path}` }
        : {}),
    };
  };
}
