// A client's process: runs one task, prints its figures as one line of JSON.
import type { ClientName, Task } from "../cases.ts";
import { amqplib, amqplibConsumer, amqplibTransactions } from "./amqplib.ts";
import { type Client, runTask } from "./task.ts";
import { peer } from "./peer.ts";
import { tally, tallyConsumer } from "./tally.ts";

await runTask<Task>((task) => open(task, task.client));

function open(of: Task, name: ClientName): Promise<Client> {
  switch (name) {
    case "amqplib":
      if (of.verb === "consume") return amqplibConsumer(of);
      return of.tx === undefined ? amqplib(of) : amqplibTransactions(of);
    case "tally":
      return of.verb === "consume" ? tallyConsumer(of) : tally(of);
    default:
      return peer({ ...of, client: name });
  }
}
