import { TallyError } from "../error.ts";
import type { Events } from "../events.ts";
import { integer, resolveOptions } from "../policy.ts";
import type { OutboxStore, Row } from "../stores.ts";

/** Where a parked row lies: the outbox, or the one in the inbox's file, which handlers publish into with `tx`. */
export interface RowPlace {
  readonly store: "outbox" | "inbox";
  readonly place: number;
}

/** A row of the outbox that was refused for good, kept for a person. */
export interface ParkedMessageRow extends RowPlace {
  readonly destination: string;
  readonly topic: string;
  readonly id: string;
  readonly key: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** Why: the error's code, and its message. */
  readonly code: string;
  readonly reason: string;
  /** Wall-clock milliseconds. */
  readonly storedAt: number;
  readonly parkedAt: number;
}

/** Rows of the outbox that the broker refused, or had nowhere to put; their ordered keys wait behind them. */
export interface ParkedRows {
  /**
   * @param of.most @default 100
   * @throws TallyError `unsupported` without an outbox, `bad-config`, `store`, `closed`
   */
  list(of?: { readonly most?: number }): Promise<readonly ParkedMessageRow[]>;
  /** Sent again, before what waits behind it. False: it is not parked (any more). @throws TallyError as `list` */
  replay(row: RowPlace): Promise<boolean>;
  /** Deleted: what waits behind it goes on. False: it is not parked (any more). @throws TallyError as `list` */
  purge(row: RowPlace): Promise<boolean>;
}

/** A store with rows, and whom to tell that some of them are not parked any more. */
export interface RowStore {
  readonly name: RowPlace["store"];
  readonly store: OutboxStore;
  changed(): void;
}

export class RowsOfStores implements ParkedRows {
  readonly #stores: readonly RowStore[];
  readonly #events: Events;

  constructor(stores: readonly RowStore[], events: Events) {
    this.#stores = stores;
    this.#events = events;
  }

  async list(given?: Parameters<ParkedRows["list"]>[0]): Promise<readonly ParkedMessageRow[]> {
    const { most } = resolveOptions("parked.rows.list", given, { most: integer(100, 1, 1_000_000) });
    const found = await Promise.all(
      this.#stores.map(async ({ name, store }) =>
        (await store.parked(most)).map(({ row, code, reason, parkedAt }) => shown(name, row, code, reason, parkedAt)),
      ),
    );
    return found.flat().slice(0, most);
  }

  async replay(row: RowPlace): Promise<boolean> {
    return await this.#end("row-replayed", row, (store, place) => store.replay(place));
  }

  async purge(row: RowPlace): Promise<boolean> {
    return await this.#end("row-purged", row, (store, place) => store.purge(place));
  }

  async #end(
    type: "row-replayed" | "row-purged",
    row: RowPlace,
    how: (store: OutboxStore, place: number) => Promise<boolean>,
  ): Promise<boolean> {
    const of = this.#stores.find(({ name }) => name === row?.store);
    if (of === undefined || !Number.isSafeInteger(row.place))
      throw new TallyError("bad-config", "a parked row is named by its store and place, as list() gives them");
    const done = await how(of.store, row.place);
    if (!done) return false;
    this.#events.emit({ type, store: row.store, place: row.place });
    of.changed();
    return true;
  }
}

function shown(
  store: RowPlace["store"],
  { place, destination, message, storedAt }: Row,
  code: string,
  reason: string,
  parkedAt: number,
): ParkedMessageRow {
  const { topic, id, key, headers, body } = message;
  return { store, place, destination, topic, id, key, headers, body, code, reason, storedAt, parkedAt };
}
