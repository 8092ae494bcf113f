/** Where a family's program lives while it is tried. */
export interface Place {
  /** The apps, beside the packages they use. */
  readonly apps: string;
  /** `node_modules` of the apps. */
  readonly modules: string;
  /** An empty directory of the program's own. */
  readonly data: string;
  /** The port that the program is told to listen on. */
  readonly port: number;
  /** Where the servers that the family needs can be reached. */
  readonly urls: Readonly<Record<string, string>>;
}

/** One living instance of a program: the original or a clone. */
export interface Target {
  /** `original`, `clone 1`, ...: for messages and as a mark in logs. */
  readonly label: string;
  readonly port: number;
  /** The program's own directory, shared by all instances. */
  readonly data: string;
  /** The file with what this instance printed. */
  readonly output: string;
  /** `node_modules` of the apps, for client libraries. */
  readonly modules: string;
}

/** A client that stays connected while the program is checkpointed. */
export interface Connection {
  /** Rejects when the connection no longer gives right answers. */
  check(): Promise<void>;
  close(): void;
}

/** Names of the servers that the matrix can start. */
export type ServerName = 'postgres' | 'mariadb' | 'redis';

/** One real program and what is asked of it. */
export interface Family {
  readonly name: string;
  readonly title: string;
  /** npm packages whose versions the table shows; `node` for what is part of Node.js. */
  readonly packages: readonly string[];
  /** Arguments of node. */
  argv(place: Place): readonly string[];
  /** Default: the apps. */
  cwd?(place: Place): string;
  readonly servers?: readonly ServerName[];
  /** The oldest Node.js that the library itself supports; default 20. */
  readonly minimumNode?: number;
  /** Belongs to the third that is also tried on the other versions of Node.js. */
  readonly isWide?: boolean;
  prepare?(place: Place): void;
  /** Rejects when an answer is wrong. */
  probe(target: Target): Promise<void>;
  /** Values that no other instance may ever return. */
  randoms?(target: Target): Promise<readonly string[]>;
  /** One request of the load; rejects when the answer is wrong. */
  load?(target: Target): Promise<void>;
  connect?(target: Target): Promise<Connection>;
}
