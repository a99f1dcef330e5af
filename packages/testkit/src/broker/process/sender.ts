import { LONGEST_TIMER } from "@tallymq/core/spi";
import { encodeFrame, type Frame, list, readMessage, textOrNull, whole, WireError } from "../wire.ts";
import type { Line, Session } from "./session.ts";
import type { Outcome, Published } from "./store.ts";

/** More than so many bytes waiting for the disk, and nothing more is read from senders. */
const WAITING = 32 * 1024 * 1024;

/**
 * A client's session for sending. Copies are numbered from 0 on both sides; verdicts go back in their order, as runs:
 * `{"t":"verdicts","r":[[count, outcome], …]}`. A copy for one group or for later is published as `[group, delayMs, message]`.
 */
export class SenderSession implements Session {
  readonly #line: Line;
  readonly #leave: () => void;

  constructor(line: Line) {
    this.#line = line;
    this.#leave = line.store.engine.joinSender({
      blocked(reason) {
        line.hold("blocked", true);
        line.send(encodeFrame(JSON.stringify({ t: "blocked", reason })));
      },
      unblocked() {
        line.send(encodeFrame('{"t":"unblocked"}'));
        line.hold("blocked", false);
      },
    });
  }

  frame({ header, body }: Frame): void {
    if (header["t"] !== "publish") throw new WireError("a sender publishes, nothing else");
    const messages: Published[] = [];
    let at = 0;
    for (const entry of list(header["m"])) {
      // Most are for all groups and at once: then there is nothing but the message.
      const [group, delayMs, meta] = list(entry).length === 3 ? list(entry) : [null, 0, entry];
      const message = readMessage(meta, body, at);
      at += message.body.length;
      messages.push({ message, group: textOrNull(group), delayMs: whole(delayMs, 0, LONGEST_TIMER) });
    }
    if (at !== body.length) throw new WireError("bytes that belong to no message");
    this.#line.store.publish(messages, (outcomes) => {
      this.#line.hold("disk", false);
      this.#line.send(encodeFrame(`{"t":"verdicts","r":${JSON.stringify(runs(outcomes))}}`));
    });
    if (this.#line.store.waiting > WAITING) this.#line.hold("disk", true);
  }

  gone(): void {
    this.#leave();
  }
}

function runs(outcomes: readonly Outcome[]): [number, Outcome][] {
  const all: [number, Outcome][] = [];
  for (const outcome of outcomes) {
    const last = all.at(-1);
    if (last !== undefined && last[1] === outcome) last[0] += 1;
    else all.push([1, outcome]);
  }
  return all;
}
