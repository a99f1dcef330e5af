import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openTally, type Tally } from "@tallymq/core";
import { sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import { memory, type MemoryBroker } from "@tallymq/testkit";
import { startBilling } from "./billing.ts";

/** All that a test of the consumer needs: it running on a broker in this process, and its database in a folder of its own. */
export interface Stage extends AsyncDisposable {
  readonly broker: MemoryBroker;
  readonly tally: Tally<SqliteTx>;
  /** What it has billed, one line a bill: a second bill for an order would be a second line. */
  bills(): readonly string[];
}

export async function openStage(): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), "billing-test-"));
  const file = join(folder, "billing.db");
  const database = new DatabaseSync(file);
  database.exec("CREATE TABLE bills (order_id TEXT, cents INTEGER)");
  const broker = memory();
  const tally = await openTally({ service: "shop", broker, inbox: sqlite(file), publish: { resendMin: "1ms" } });
  await startBilling(tally);
  return {
    broker,
    tally,
    bills: () =>
      database
        .prepare("SELECT order_id, cents FROM bills ORDER BY rowid")
        .all()
        .map((row) => `${String(row["order_id"])}: ${String(row["cents"])}`),
    async [Symbol.asyncDispose]() {
      await tally.close();
      database.close();
      rmSync(folder, { recursive: true });
    },
  };
}
