import { bodyOf, publishWindow } from "../../clients/publish-window.ts";
import type { Client } from "../../clients/task.ts";
import { keyOf, type KafkaTask } from "../task.ts";

export interface Record {
  readonly key: string;
  readonly value: Buffer;
}

/** A client that sends lists of messages, each list with one promise: one message for each of many callers, or many for one. */
export function caller(
  { bytes, call }: KafkaTask,
  send: (records: Record[]) => Promise<unknown>,
  close: () => Promise<unknown>,
): Client {
  const value = Buffer.from(bodyOf(bytes));
  const record = (n: number): Record => ({ key: keyOf(n), value });
  return {
    async run(from, messages, window) {
      if (call === null) return await publishWindow((n) => send([record(n)]), from, messages, window);
      let sent = 0;
      while (sent < messages) {
        const many = Math.min(call, messages - sent);
        const first = from + sent;
        await send(Array.from({ length: many }, (_, n) => record(first + n)));
        sent += many;
      }
      return sent;
    },
    close: async () => void (await close()),
  };
}
