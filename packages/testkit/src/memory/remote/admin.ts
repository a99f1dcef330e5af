import { type AdminPort, type Incoming, TallyError } from "@tallymq/core/spi";
import { encodeFrame, type Frame, list, readMessage, text, whole, WireError } from "../../broker/wire.ts";
import type { Address } from "../address.ts";
import type { QueuedMessage } from "../library.ts";
import { errorOf, Link } from "./link.ts";

interface Answer {
  readonly value: unknown;
  readonly entries: readonly { readonly message: Incoming; readonly state: string; readonly deliveries: number }[];
}

/** One request to a broker process, on a connection of its own. @throws TallyError */
export async function request(
  address: Address,
  asked: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<Answer> {
  const link = await Link.open(address, { role: "admin" }, signal);
  const entries: { message: Incoming; state: string; deliveries: number }[] = [];
  return new Promise<Answer>((resolve, reject) => {
    const onAbort = (): void => {
      link.abandon();
      reject(signal.reason as Error);
    };
    const end = (): void => {
      signal.removeEventListener("abort", onAbort);
      link.close();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    link.send(encodeFrame(JSON.stringify({ n: 1, ...asked })));
    link.listen({
      frame({ header, body }: Frame) {
        if (header["t"] === "entries") return readEntries(list(header["m"]), body, entries);
        if (header["t"] === "ok") resolve({ value: header["value"], entries });
        else if (header["t"] === "error") reject(errorOf(header));
        else throw new WireError("no frame for an admin");
        end();
      },
      lost(error) {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    });
  });
}

function readEntries(
  metas: readonly unknown[],
  body: Uint8Array,
  into: { message: Incoming; state: string; deliveries: number }[],
): void {
  let at = 0;
  for (const entry of metas) {
    const [state, deliveries, meta] = list(entry);
    const message = readMessage(meta, body, at);
    at += message.body.length;
    into.push({ message, state: text(state), deliveries: whole(deliveries, 0, Number.MAX_SAFE_INTEGER) });
  }
}

export function remoteAdmin(address: Address): AdminPort {
  return {
    async declare(topics, signal) {
      await request(address, { t: "declare", topics }, signal);
    },
    async declareDelays(_plan, _upToMs, signal) {
      signal.throwIfAborted();
    },
    async backlog(topic, group, signal) {
      return whole((await request(address, { t: "backlog", topic, group }, signal)).value, 0, Number.MAX_SAFE_INTEGER);
    },
  };
}

export async function queuedMessages(
  address: Address,
  topic: string,
  group: string,
  signal: AbortSignal,
): Promise<readonly QueuedMessage[]> {
  const { entries } = await request(address, { t: "messages", topic, group }, signal);
  return entries.map(({ message, state, deliveries }) => {
    if (state !== "waiting" && state !== "delayed" && state !== "unsettled")
      throw new TallyError("decode", "an unknown state of a message");
    return { message, state, deliveries };
  });
}

export async function deadLetters(
  address: Address,
  topic: string,
  group: string,
  signal: AbortSignal,
): Promise<readonly Incoming[]> {
  return (await request(address, { t: "dead", topic, group }, signal)).entries.map((e) => e.message);
}
