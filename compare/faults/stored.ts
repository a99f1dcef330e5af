import { existsSync } from "node:fs";
import { OutboxView } from "../../integration-tests/workload/outbox.ts";

/** Rows that wait in a client's outbox; 0 for those without. */
export async function storedIn(path: string): Promise<number> {
  if (!existsSync(path)) return 0;
  await using outbox = await OutboxView.open(path);
  return await outbox.rows();
}
