/** Beyond this many settings nothing is remembered. */
const SETTINGS_MAX = 200;
const TEXT_MAX = 4096;

/** What a statement does to its session. */
export type Effect =
  | { readonly kind: 'set' | 'drop'; readonly key: string }
  /** Drops everything whose key begins so. */
  | { readonly kind: 'clear'; readonly prefix: string };

/** Reads one statement; undefined when it leaves the session as it is. */
export type Dialect = (text: string) => Effect | undefined;

/** What a session with a database has asked for, so that another one can ask for it again. */
export class Session {
  readonly #dialect: Dialect;
  readonly #settings = new Map<string, string>();

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
  }

  /** Remembers a query that changes the session; anything may be given. */
  note(query: unknown): void {
    if (typeof query !== 'string' || query.length > TEXT_MAX) return;
    const effect = this.#dialect(query);
    if (effect === undefined) return;
    if (effect.kind === 'clear') {
      for (const key of this.#settings.keys()) if (key.startsWith(effect.prefix)) this.#settings.delete(key);
      return;
    }
    // The last one counts, at its place in the order.
    this.#settings.delete(effect.key);
    if (effect.kind === 'set' && this.#settings.size < SETTINGS_MAX) this.#settings.set(effect.key, query);
  }

  /** Returns what brings another session to the same state, in order. */
  statements(): string[] {
    return [...this.#settings.values()];
  }
}

/** One statement that changes the session and nothing else; what holds for a transaction only does not count. */
const PG_SETTING =
  /^\s*(set|reset)\s+(?:session\s+)?(?!local\b|transaction\b|constraints\b|all\b)("[^"]+"|[\w.]+(?:\s+zone)?)[^;]*;?\s*$/i;
const PG_CHANNEL = /^\s*(listen|unlisten)\s+("[^"]+"|\w+|\*)\s*;?\s*$/i;
const PG_RESET_ALL = /^\s*reset\s+all\s*;?\s*$/i;
const PG_DISCARD_ALL = /^\s*discard\s+all\s*;?\s*$/i;

/** PostgreSQL: `SET`, `RESET`, `LISTEN`, `UNLISTEN`, `DISCARD ALL`. */
export const postgresql: Dialect = (text) => {
  if (PG_DISCARD_ALL.test(text)) return { kind: 'clear', prefix: '' };
  if (PG_RESET_ALL.test(text)) return { kind: 'clear', prefix: 'set ' };
  const [, word = '', name = ''] = PG_SETTING.exec(text) ?? PG_CHANNEL.exec(text) ?? [];
  const verb = word.toLowerCase();
  if (verb === 'unlisten' && name === '*') return { kind: 'clear', prefix: 'listen ' };
  if (verb === 'set' || verb === 'reset')
    return { kind: verb === 'set' ? 'set' : 'drop', key: `set ${name.toLowerCase()}` };
  if (verb === 'listen' || verb === 'unlisten')
    return { kind: verb === 'listen' ? 'set' : 'drop', key: `listen ${name.toLowerCase()}` };
  return undefined;
};

const MYSQL_SETTING =
  /^\s*set\s+(?:session\s+|local\s+|@@session\.|@@local\.|@@)?(?!global\b|@@global\b|transaction\b|persist)(names|@?[\w.$]+)\s*(?:=|:=|\s)[^;]*;?\s*$/i;
const MYSQL_USE = /^\s*use\s+(`[^`]+`|[\w$]+)\s*;?\s*$/i;

/** MariaDB and MySQL: `SET` of session and user variables, `USE`. */
export const mysql: Dialect = (text) => {
  if (MYSQL_USE.test(text)) return { kind: 'set', key: 'use' };
  const name = MYSQL_SETTING.exec(text)?.[1];
  return name === undefined ? undefined : { kind: 'set', key: `set ${name.toLowerCase()}` };
};
