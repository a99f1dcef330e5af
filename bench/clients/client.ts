// A client's process: runs one task, prints its figures as one line of JSON.
import type { ClientName, Measure, Task } from "../cases.ts";
import { amqplib } from "./amqplib.ts";
import { tally } from "./tally.ts";

export interface Client {
  /** Publishes `messages` numbered from `from`, at most `window` without a confirm; gives how many were confirmed. */
  run(from: number, messages: number, window: number): Promise<number>;
  close(): Promise<void>;
}

const CLIENTS: Readonly<Record<ClientName, (task: Task) => Promise<Client>>> = { amqplib, tally };

const task = JSON.parse(process.argv[2] ?? "") as Task;
const client = await CLIENTS[task.client](task);
await client.run(0, task.warmup, task.window);
const cpu = process.cpuUsage();
const started = performance.now();
const confirmed = await client.run(task.warmup, task.messages, task.window);
const seconds = (performance.now() - started) / 1000;
const { user, system } = process.cpuUsage(cpu);
const measure: Measure = { rate: task.messages / seconds, cpuMicros: (user + system) / task.messages, confirmed };
await client.close();
console.log(JSON.stringify(measure));
