import {
  type Claim,
  type ClaimAsk,
  type FreshClaim,
  type InboxKey,
  type InboxOutcome,
  type InboxStore,
  type ParkedKey,
  type ParkedMessage,
  type ParkedPlace,
  type ParkResult,
  type Scope,
} from "@tallymq/core/spi";
import { BUFFER_BYTES } from "../buffers.ts";
import type { Client } from "../client.ts";
import { rowsOf } from "../outbox/records.ts";
import { FRAME } from "../record/layout.ts";
import { Heads } from "../record/heads.ts";
import { checkRow, batchAlone } from "../record/batch.ts";
import type { SqliteTx } from "../tx/handle.ts";
import { SqliteTransactions } from "../tx/transactions.ts";
import { CLAIM_WIDTH, type ClaimAnswers, type ClaimArgs, type Records } from "../worker/protocol.ts";

export class SqliteInbox implements InboxStore<SqliteTx> {
  readonly id: string;
  readonly scope: Scope = "host";
  readonly bufferBytes: number = BUFFER_BYTES;
  readonly keepsMs: number;
  readonly transactions: SqliteTransactions;
  readonly #client: Client;
  readonly #heads: Heads = new Heads();

  constructor(client: Client, id: string, keepsMs: number, txTimeoutMs: number) {
    this.#client = client;
    this.id = id;
    this.keepsMs = keepsMs;
    this.transactions = new SqliteTransactions(client, txTimeoutMs);
  }

  async claim(keys: readonly ClaimAsk[], leaseMs: number): Promise<readonly Claim[]> {
    const asks: unknown[] = [];
    for (const { group, topic, producer, id, bodyHash, behind } of keys)
      asks.push(group, topic, producer, id, bodyHash, behind);
    const args: ClaimArgs = { asks, leaseMs, now: this.#client.now() };
    const answers = await this.#client.ask<ClaimAnswers>("claim", args);
    return keys.map((key, index) => claimOf(key, answers, index * CLAIM_WIDTH));
  }

  renew(claim: FreshClaim, leaseMs: number): Promise<boolean> {
    return this.#client.ask("renew", { key: plain(claim.key), fence: claim.fence, leaseMs, now: this.#client.now() });
  }

  end(claim: FreshClaim, outcome: InboxOutcome): Promise<boolean> {
    return this.#client.ask("inbox.end", {
      key: plain(claim.key),
      fence: claim.fence,
      outcome,
      now: this.#client.now(),
    });
  }

  revive(key: InboxKey): Promise<boolean> {
    return this.#client.ask("revive", { key: plain(key) });
  }

  async parkedKeys(group: string, topic: string, keys: readonly string[]): Promise<ReadonlySet<string>> {
    return new Set(await this.#client.ask<readonly string[]>("parkedKeys", { group, topic, keys }));
  }

  async park({ group, topic, key, message, reason }: ParkedMessage, head: FreshClaim | null): Promise<ParkResult> {
    const row = { destination: "", slot: null, message, doubtful: false, lane: null, dedupeForMs: null };
    checkRow(row);
    const batch = batchAlone(row, this.#heads);
    const record = new Uint8Array(batch.bytes.subarray(FRAME, batch.used));
    const identity = { group, topic, producer: message.producer, id: message.id };
    return await this.#client.ask("inbox.park", {
      identity,
      key,
      reason,
      record,
      wall: this.#client.host.clock.wall(),
      head: head === null ? null : { key: plain(head.key), fence: head.fence },
    });
  }

  parked(group: string | null, topic: string | null, most: number): Promise<readonly ParkedKey[]> {
    return this.#client.ask("inbox.parked", { group, topic, most });
  }

  async parkedMessages(group: string, topic: string, key: string, most: number): Promise<readonly ParkedPlace[]> {
    const { records, reasons } = await this.#client.ask<{ records: Records; reasons: readonly string[] }>(
      "parkedMessages",
      { group, topic, key, most },
    );
    return rowsOf(records).map(({ message, place, storedAt: parkedAt }, index) => ({
      group,
      topic,
      key,
      message,
      reason: reasons[index] ?? "",
      place,
      parkedAt,
    }));
  }

  unpark(place: number): Promise<boolean> {
    return this.#client.ask("unpark", { place });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.transactions.close();
    await this.#client.close();
  }
}

function claimOf(asked: ClaimAsk, answers: ClaimAnswers, at: number): Claim {
  const key = plain(asked);
  const state = answers[at] as Claim["state"];
  const what = answers[at + 1];
  if (state === "fresh") return { state, key, attempt: what as number, fence: answers[at + 2] as number };
  if (state === "busy") return { state, key, leftMs: what as number };
  return state === "dead" ? { state, key, reason: what as string } : { state, key };
}

/** Only what the worker reads: a caller's key may be a larger object. */
function plain({ group, topic, producer, id, bodyHash }: InboxKey): InboxKey {
  return { group, topic, producer, id, bodyHash };
}
