import { ManifestError } from './error.ts';
import type { PlanRecord } from './plan.ts';

/** Typed access to the records of one plan; every miss throws ERR_FORKPOINT_PLAN_INVALID and names the record. */
export class RecordSet {
  readonly #byKey = new Map<string, PlanRecord[]>();

  constructor(records: readonly PlanRecord[]) {
    for (const record of records) {
      const same = this.#byKey.get(record.key);
      if (same === undefined) this.#byKey.set(record.key, [record]);
      else same.push(record);
    }
  }

  /** Returns the fields of all records with this key, in order. */
  all(key: string): readonly (readonly string[])[] {
    return (this.#byKey.get(key) ?? []).map((record) => record.fields);
  }

  /** Returns the fields of the only record with this key, or undefined when there is none. */
  optional(key: string): readonly string[] | undefined {
    const found = this.all(key);
    if (found.length > 1) throw invalid(`the plan has the record "${key}" ${found.length} times`);
    return found[0];
  }

  /** Returns the fields of the only record with this key. */
  fields(key: string): readonly string[] {
    const found = this.optional(key);
    if (found === undefined) throw invalid(`the plan lacks the record "${key}"`);
    return found;
  }

  /** Returns the only field of the only record with this key. */
  text(key: string): string {
    const fields = this.fields(key);
    if (fields.length !== 1)
      throw invalid(`the plan record "${key}" has ${fields.length} fields instead of one`);
    return fieldAt(fields, 0, key);
  }

  /** Returns the only field of a record as a whole number of at most 2^53 - 1. */
  integer(key: string): number {
    return integerOf(this.text(key), key);
  }

  /** Returns the only field of a record as a claim, `0` or `1`. */
  flag(key: string): boolean {
    return flagOf(this.text(key), key);
  }
}

/** Returns field number `index` of a record; throws when the record is too short. */
export function fieldAt(fields: readonly string[], index: number, key: string): string {
  const field = fields[index];
  if (field === undefined) throw invalid(`the plan record "${key}" has only ${fields.length} fields`);
  return field;
}

/** Returns a decimal string as a number of at most 2^53 - 1; throws for everything else. */
export function integerOf(text: string, key: string): number {
  const value = /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw invalid(`the plan record "${key}" holds ${quoted(text)} where a number belongs`);
  return value;
}

/** Returns `0` or `1` as a boolean; throws for everything else. */
export function flagOf(text: string, key: string): boolean {
  if (text !== '0' && text !== '1')
    throw invalid(`the plan record "${key}" holds ${quoted(text)} where 0 or 1 belongs`);
  return text === '1';
}

/** Returns the error for a plan whose content is wrong. */
export function invalid(message: string): ManifestError {
  return new ManifestError('ERR_FORKPOINT_PLAN_INVALID', message);
}

/** Returns a short quoted form of untrusted text. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text);
}
