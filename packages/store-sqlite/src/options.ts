import { type Bounds, choice, type Duration, duration, integer, resolveOptions } from "@tallymq/core/spi";

/** Options of `sqlite(path, options)`. */
export interface SqliteOptions {
  /**
   * Bound of an outbox file, in bytes; its write-ahead log comes on top, with about 16 MiB. At the bound the relay can
   * still delete and park, which it could not on a disk that is really full. For rows that an inbox's transactions
   * published, the bound of their sum.
   * @default 1 GiB
   */
  readonly maxBytes?: number;
  /**
   * `"one"`: no other process may open the file; a second one fails, naming the first's pid. `"many"` needs SQLite 3.51.3 or
   * later (`process.versions.sqlite`): an older one can damage a file that several connections write.
   * @default "many"
   */
  readonly processes?: "many" | "one";
  /**
   * How long the inbox remembers an effect at least. It must be longer than the longest possible redelivery: the topic's
   * `dedupeFor` (7 days) and what the consumer's attempts can take (an hour); a consumer with less is refused. The same in
   * every process that opens the file: each lets it age by its own, and the shortest is what all can count on.
   * @default "8d"
   */
  readonly keepFor?: Duration;
  /** Messages of parked keys, at most; at this bound the topics that need more stand still. @default 10,000 */
  readonly maxParked?: number;
  /** After so long without a statement of its own, a `tx` handler is rolled back: others wait for it. @default "1s" */
  readonly txTimeout?: Duration;
}

export type Resolved = Required<Omit<SqliteOptions, "keepFor" | "txTimeout">> & {
  readonly keepFor: number;
  readonly txTimeout: number;
};

const GIB = 1024 ** 3;
const DAY = 86_400_000;

const BOUNDS: Bounds<Resolved> = {
  maxBytes: integer(GIB, 1024 ** 2, 1024 * GIB),
  processes: choice("many", "one"),
  keepFor: duration("8d", 1_000, 400 * DAY),
  maxParked: integer(10_000, 1, 10_000_000),
  txTimeout: duration("1s", 100, 60_000),
};

export function resolveSqlite(options: SqliteOptions | undefined): Readonly<Resolved> {
  return resolveOptions<Resolved>("sqlite", options, BOUNDS);
}
