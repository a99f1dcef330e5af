import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type {
  Claim,
  ClaimAsk,
  FreshClaim,
  InboxKey,
  InboxStore,
  NewRow,
  Outgoing,
  OutboxLease,
  OutboxStore,
  Row,
  StoreHost,
} from "@tallymq/core/spi";
import { testHost } from "../host.ts";
import { Messages } from "../messages.ts";
import { asFailure, within } from "../wait.ts";
import type { StoreCase, StoreNeed, StoreRig } from "./case.ts";

/** A case, with everything that it opened closed at its end. */
export function storeCase(
  name: string,
  needs: readonly StoreNeed[],
  body: (stage: StoreStage) => Promise<void>,
): StoreCase {
  return {
    name,
    needs,
    async run(rig) {
      const stage = new StoreStage(rig);
      try {
        await body(stage);
      } catch (error) {
        await stage.end().catch(() => {});
        throw asFailure(error);
      }
      await stage.end();
    },
  };
}

export class StoreStage {
  readonly rig: StoreRig;
  readonly place: string;
  readonly surfaced: string[] = [];
  readonly host: StoreHost;
  /** Added to the clock of every store that is opened after. */
  readonly #messages: Messages = new Messages("shop", randomUUID());
  readonly #open: AsyncDisposable[] = [];
  #ahead = 0;

  constructor(rig: StoreRig) {
    this.rig = rig;
    this.place = rig.place();
    const { clock, random } = testHost();
    this.host = {
      random,
      clock: {
        now: () => clock.now() + this.#ahead,
        wall: () => clock.wall() + this.#ahead,
        after: (ms, fn) => clock.after(ms, fn),
      },
      surfaced: (what) => this.surfaced.push(what),
    };
  }

  /** Time passes, for every store of this case. */
  advance(ms: number): void {
    this.#ahead += ms;
  }

  async outbox(host: StoreHost = this.host): Promise<OutboxStore> {
    assert.ok(this.rig.outbox !== null);
    return await this.#opened(this.rig.outbox(this.place, host));
  }

  async boundOutbox(): Promise<OutboxStore> {
    assert.ok(this.rig.bound !== null);
    return await this.#opened(this.rig.bound(this.place, this.host));
  }

  async inbox(host: StoreHost = this.host): Promise<InboxStore<unknown>> {
    assert.ok(this.rig.inbox !== null);
    return await this.#opened(this.rig.inbox(this.place, host));
  }

  /** An inbox with transactions, and its effects. */
  async effects(): Promise<Effects> {
    const effects = this.rig.transactions;
    assert.ok(effects !== null);
    await effects.prepare(this.place);
    const inbox = await this.inbox();
    const { transactions } = inbox;
    assert.ok(transactions !== null, "expected an inbox with transactions");
    return {
      inbox,
      transactions,
      write: (tx, line) => effects.write(tx as never, line),
      lines: () => effects.lines(this.place),
    };
  }

  async lease(outbox: OutboxStore, destinations: readonly string[] = ["broker"]): Promise<OutboxLease> {
    return await this.#opened(outbox.lease(destinations, () => {}, AbortSignal.timeout(this.rig.limitMs)));
  }

  message(given: Partial<Outgoing> = {}): Outgoing {
    return this.#messages.one({ name: "orders", ordered: false, groups: [] }, given);
  }

  row(given: Partial<Omit<NewRow, "message">> = {}, message: Partial<Outgoing> = {}): NewRow {
    return {
      destination: "broker",
      slot: null,
      doubtful: false,
      lane: null,
      dedupeForMs: null,
      ...given,
      message: this.message(message),
    };
  }

  async close(what: AsyncDisposable): Promise<void> {
    this.#open.splice(this.#open.indexOf(what), 1);
    await within(this.rig.limitMs, "a store to be closed", what[Symbol.asyncDispose]());
  }

  async end(): Promise<void> {
    for (const each of this.#open.splice(0).toReversed())
      await within(this.rig.limitMs, "a store to be closed", each[Symbol.asyncDispose]());
  }

  async #opened<T extends AsyncDisposable>(opening: Promise<T>): Promise<T> {
    const opened = await within(this.rig.limitMs, "a store to open", opening);
    this.#open.push(opened);
    return opened;
  }
}

export interface Effects {
  readonly inbox: InboxStore<unknown>;
  readonly transactions: NonNullable<InboxStore<unknown>["transactions"]>;
  write(tx: unknown, line: string): Promise<unknown>;
  lines(): Promise<readonly string[]>;
}

export const PROOF = { routed: "yes", persisted: "yes", replicated: "unverified" } as const;

export function ended(rows: readonly Row[]): readonly { readonly place: number; readonly proof: typeof PROOF }[] {
  return rows.map(({ place }) => ({ place, proof: PROOF }));
}

export function rowIds(rows: readonly Row[]): readonly string[] {
  return rows.map((row) => row.message.id);
}

export function inboxKey(given: Partial<InboxKey> = {}): InboxKey {
  return { group: "billing", topic: "orders", producer: "shop", id: "1", bodyHash: 7n, ...given };
}

/** The same, as a claim asks for it. */
export function ask(given: Partial<ClaimAsk> = {}): ClaimAsk {
  return { ...inboxKey(given), behind: given.behind ?? null };
}

/** One claim, expected to be ours. */
export async function fresh(
  inbox: InboxStore<unknown>,
  key: InboxKey = inboxKey(),
  leaseMs = 60_000,
): Promise<FreshClaim> {
  const claim = await claimed(inbox, key, leaseMs);
  assert.equal(claim.state, "fresh");
  return claim as FreshClaim;
}

export async function claimed(
  inbox: InboxStore<unknown>,
  key: InboxKey = inboxKey(),
  leaseMs = 60_000,
  behind: string | null = null,
): Promise<Claim> {
  const claims = await inbox.claim([{ ...key, behind }], leaseMs);
  assert.equal(claims.length, 1, "expected one answer for one key");
  return claims[0] as Claim;
}
