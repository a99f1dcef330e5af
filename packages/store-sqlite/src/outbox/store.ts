import type {
  HalfStore,
  NewRow,
  OutboxLease,
  OutboxStats,
  OutboxStore,
  ParkedRow,
  PutResult,
  Scope,
  TallyError,
} from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import { SqliteHalves } from "./halves.ts";
import type { Records } from "../worker/protocol.ts";
import { waitForLease } from "./lease.ts";
import { BUFFER_BYTES } from "../buffers.ts";
import { Puts } from "./puts.ts";
import { rowsOf } from "./records.ts";

interface Line {
  readonly code: string;
  readonly reason: string;
  readonly parkedAt: number;
}

export class SqliteOutbox implements OutboxStore {
  readonly scope: Scope = "host";
  readonly bufferBytes: number = BUFFER_BYTES;
  readonly halves: HalfStore;
  readonly #client: Client;
  readonly #puts: Puts;

  readonly #owns: boolean;

  /** @param owns Whether the file is closed with this outbox. */
  constructor(client: Client, owns: boolean) {
    this.#client = client;
    this.#owns = owns;
    this.#puts = new Puts(client);
    this.halves = new SqliteHalves(client);
  }

  put(rows: readonly NewRow[]): Promise<readonly PutResult[]> {
    return this.#puts.put(rows);
  }

  busySlots(): Promise<Uint32Array> {
    return this.#client.ask("busySlots", null);
  }

  stats(): Promise<OutboxStats> {
    return this.#client.ask("stats", null);
  }

  lease(destinations: readonly string[], lost: (error: TallyError) => void, signal: AbortSignal): Promise<OutboxLease> {
    return waitForLease(this.#client, destinations, lost, signal);
  }

  async parked(most: number): Promise<readonly ParkedRow[]> {
    const { records, lines } = await this.#client.ask<{ records: Records; lines: readonly Line[] }>("parked", { most });
    return rowsOf(records).map((row, index) => ({ row, ...(lines[index] as Line) }));
  }

  replay(place: number): Promise<boolean> {
    return this.#client.ask("replay", { place, wall: this.#client.host.clock.wall() });
  }

  purge(place: number): Promise<boolean> {
    return this.#client.ask("purge", { place });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#owns) await this.#client.close();
  }
}
