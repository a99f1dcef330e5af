import { type GivenBack, type OutboxLease, type Proof, type Row, TallyError } from "@tallymq/core/spi";
import type { Client } from "../client.ts";
import type { Records } from "../worker/protocol.ts";
import { rowsOf } from "./records.ts";

/** How often somebody who waits asks for the right to relay; the system frees it the moment its holder dies. */
const ASK_MS = 25;

let leases = 0;

/** Resolves when nobody else relays to these destinations. */
export async function waitForLease(
  client: Client,
  destinations: readonly string[],
  lost: (error: TallyError) => void,
  signal: AbortSignal,
): Promise<OutboxLease> {
  const lease = ++leases;
  for (;;) {
    signal.throwIfAborted();
    if (await client.ask<boolean>("lease", { lease, destinations })) break;
    await pause(client, signal);
  }
  if (signal.aborted) {
    await client.ask("release", { lease });
    signal.throwIfAborted();
  }
  return new Lease(client, lease, lost);
}

function pause(client: Client, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void): void => {
      timer.cancel();
      signal.removeEventListener("abort", aborted);
      settle();
    };
    const aborted = (): void => end(() => reject(signal.reason as Error));
    const timer = client.host.clock.after(ASK_MS, () => end(resolve));
    signal.addEventListener("abort", aborted, { once: true });
  });
}

class Lease implements OutboxLease {
  readonly #client: Client;
  readonly #lease: number;
  readonly #lost: (error: TallyError) => void;
  readonly #forget: () => void;
  #over = false;
  #limits: readonly (readonly [string, number])[] = [];

  constructor(client: Client, lease: number, lost: (error: TallyError) => void) {
    this.#client = client;
    this.#lease = lease;
    this.#lost = lost;
    this.#forget = client.onLost((error) => this.#end(error));
  }

  async take(most: number): Promise<readonly Row[]> {
    this.#check();
    try {
      const records = await this.#client.ask<Records>("take", { lease: this.#lease, most, limits: this.#limits });
      return rowsOf(records);
    } catch (error) {
      if (TallyError.is(error) && error.code === "fenced") {
        this.#end(error);
        await this.#client.ask("release", { lease: this.#lease });
      }
      throw error;
    }
  }

  limit(topics: ReadonlyMap<string, number>): void {
    this.#limits = [...topics];
  }

  async end(rows: readonly { readonly place: number; readonly proof: Proof }[]): Promise<void> {
    this.#check();
    // Not `from`: for each row that costs as much as a look-up.
    const places = new Float64Array(rows.length);
    for (let i = 0; i < places.length; i++) places[i] = rows[i]?.place ?? 0;
    await this.#client.ask("end", { lease: this.#lease, places });
  }

  async giveBack(rows: readonly GivenBack[]): Promise<void> {
    this.#check();
    const back = rows.map(({ place, doubtful }) => ({ place, doubtful }));
    await this.#client.ask("giveBack", { lease: this.#lease, rows: back });
  }

  async park(place: number, error: TallyError): Promise<void> {
    this.#check();
    const { host } = this.#client;
    await this.#client.ask("park", {
      lease: this.#lease,
      place,
      code: error.code,
      reason: error.message,
      wall: host.clock.wall(),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    this.#forget();
    await this.#client.ask("release", { lease: this.#lease }).catch(() => {});
  }

  #end(error: TallyError): void {
    if (this.#over) return;
    this.#over = true;
    this.#forget();
    this.#lost(error);
  }

  #check(): void {
    if (this.#over) throw new TallyError("fenced", "this lease is over");
  }
}
