import type {
  Decided,
  FoundHalf,
  HalfOwner,
  HalfStats,
  HalfStore,
  NewHalf,
  Prepared,
  PutResult,
  StoredHalf,
} from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import { FRAME } from "../record/layout.ts";
import { Heads } from "../record/heads.ts";
import { checkRow, batchAlone } from "../record/batch.ts";
import type { HalfLine, PreparedLine } from "../worker/outbox/halves.ts";
import type { Records } from "../worker/protocol.ts";
import { rowsOf } from "./records.ts";

interface Lines {
  readonly records: Records;
  readonly lines: readonly HalfLine[];
}

export class SqliteHalves implements HalfStore {
  readonly #client: Client;
  readonly #heads: Heads = new Heads();

  constructor(client: Client) {
    this.#client = client;
  }

  async prepare({ name, row }: NewHalf, leaseMs: number): Promise<Prepared> {
    checkRow(row);
    const batch = batchAlone(row, this.#heads);
    const record = new Uint8Array(batch.bytes.subarray(FRAME, batch.used));
    const owner = { destination: row.destination, producer: row.message.producer, name };
    const now = this.#client.now();
    const line = await this.#client.ask<PreparedLine>("half.prepare", { owner, record, leaseMs, now });
    if (line.is !== "undecided") return line;
    const [half] = halvesOf(name, await this.#client.ask<Lines>("half.at", { place: line.place }));
    // Decided by somebody in between.
    if (half === undefined) return await this.prepare({ name, row }, leaseMs);
    return { is: "undecided", half: { ...half, fence: line.fence } };
  }

  renew(place: number, fence: number, ms: number): Promise<boolean> {
    return this.#client.ask("half.renew", { place, fence, ms, now: this.#client.now() });
  }

  decide(place: number, decision: "commit" | "rollback", release: boolean): Promise<Decided | null> {
    return this.#client.ask("half.decide", { place, decision, release, wall: this.#wall() });
  }

  release(place: number): Promise<PutResult> {
    return this.#client.ask("half.release", { place, wall: this.#wall() });
  }

  settle(place: number): Promise<boolean> {
    return this.#client.ask("half.settle", { place, wall: this.#wall() });
  }

  withdraw(place: number, fence: number): Promise<boolean> {
    return this.#client.ask("half.withdraw", { place, fence });
  }

  async due({ destination, producer, name }: HalfOwner, leaseMs: number, most: number): Promise<readonly StoredHalf[]> {
    const owner = { destination, producer, name };
    return halvesOf(name, await this.#client.ask<Lines>("half.due", { owner, leaseMs, most, now: this.#client.now() }));
  }

  park(place: number, fence: number, reason: string): Promise<boolean> {
    return this.#client.ask("half.park", { place, fence, reason, wall: this.#wall() });
  }

  async list({ destination, producer, name }: HalfOwner, most: number): Promise<readonly StoredHalf[]> {
    const owner = { destination, producer, name };
    return halvesOf(name, await this.#client.ask<Lines>("half.list", { owner, most }));
  }

  find({ destination, producer, name }: HalfOwner, topic: string, id: string): Promise<FoundHalf | null> {
    return this.#client.ask("half.find", {
      owner: { destination, producer, name },
      topic,
      id,
      now: this.#client.now(),
    });
  }

  stats(): Promise<HalfStats> {
    return this.#client.ask("half.stats", null);
  }

  #wall(): number {
    return this.#client.host.clock.wall();
  }
}

function halvesOf(name: string, { records, lines }: Lines): readonly StoredHalf[] {
  return rowsOf(records).map(({ place, storedAt: preparedAt, ...row }, index) => {
    const { committed, ...line } = lines[index] as HalfLine;
    return { ...line, name, row, place, preparedAt, state: committed ? "committed" : "undecided" };
  });
}
