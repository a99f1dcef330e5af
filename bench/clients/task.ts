import type { Measure, Task } from "../cases.ts";

export interface Client {
  /**
   * Publishes `messages` numbered from `from`, at most `window` without a confirm; gives how many were confirmed. A consumer:
   * waits until so many more were handled.
   */
  run(from: number, messages: number, window: number): Promise<number>;
  close(): Promise<void>;
}

/** What a client's process does: the task of its command line, and its figures as a line of JSON. */
export async function runTask<T extends Pick<Task, "warmup" | "messages" | "window">>(
  open: (task: T) => Promise<Client>,
): Promise<void> {
  const task = JSON.parse(process.argv[2] ?? "") as T;
  const client = await open(task);
  await client.run(0, task.warmup, task.window);
  const cpu = process.cpuUsage();
  const started = performance.now();
  const confirmed = await client.run(task.warmup, task.messages, task.window);
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const measure: Measure = { rate: task.messages / seconds, cpuMicros: (user + system) / task.messages, confirmed };
  await client.close();
  console.log(JSON.stringify(measure));
}
