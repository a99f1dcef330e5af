// A client's process: runs one task, prints its figures as one line of JSON.
import type { ClientName, Measure, Task } from "../cases.ts";
import { amqplib, amqplibConsumer, amqplibTransactions } from "./amqplib.ts";
import { peer } from "./peer.ts";
import { tally, tallyConsumer } from "./tally.ts";

export interface Client {
  /**
   * Publishes `messages` numbered from `from`, at most `window` without a confirm; gives how many were confirmed. A consumer:
   * waits until so many more were handled.
   */
  run(from: number, messages: number, window: number): Promise<number>;
  close(): Promise<void>;
}

const task = JSON.parse(process.argv[2] ?? "") as Task;
const client = await open(task, task.client);
await client.run(0, task.warmup, task.window);
const cpu = process.cpuUsage();
const started = performance.now();
const confirmed = await client.run(task.warmup, task.messages, task.window);
const seconds = (performance.now() - started) / 1000;
const { user, system } = process.cpuUsage(cpu);
const measure: Measure = { rate: task.messages / seconds, cpuMicros: (user + system) / task.messages, confirmed };
await client.close();
console.log(JSON.stringify(measure));

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
