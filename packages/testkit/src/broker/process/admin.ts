import { TallyError, type TopicPlan } from "@tallymq/core/spi";
import type { Entry } from "../group.ts";
import { encodeFrame, flag, type Frame, list, metaOf, packFrames, text, whole, WireError } from "../wire.ts";
import { errorFrame, type Line, type Session } from "./session.ts";

/** A client's session for everything else: requests with a number, and one answer each (`ok` or `error`). */
export class AdminSession implements Session {
  readonly #line: Line;
  readonly #gone: AbortController = new AbortController();

  constructor(line: Line) {
    this.#line = line;
  }

  frame({ header }: Frame): void {
    const n = whole(header["n"], 1, Number.MAX_SAFE_INTEGER);
    const answer = (value: unknown): void => this.#line.send(encodeFrame(JSON.stringify({ t: "ok", n, value })));
    const fail = (thrown: unknown): void => {
      const error = TallyError.is(thrown) ? thrown : new TallyError("closed", "the broker is closing");
      this.#line.send(errorFrame(error, { n }));
    };
    const { engine } = this.#line.store;
    try {
      switch (header["t"]) {
        case "declare":
          return void this.#line.store.declare(list(header["topics"]).map(readPlan)).then(() => answer(null), fail);
        case "backlog":
          return answer(engine.group(text(header["topic"]), text(header["group"])).backlog);
        case "messages": {
          const group = engine.group(text(header["topic"]), text(header["group"]));
          this.#entries(group.entries());
          return answer(null);
        }
        case "dead": {
          const group = engine.group(text(header["topic"]), text(header["group"]));
          this.#entries(group.dead().map((entry) => ({ entry, state: "dead" })));
          return answer(null);
        }
        case "idle":
          return void engine.idle(this.#gone.signal).then(() => answer(null), fail);
        case "block":
          engine.block(text(header["reason"]));
          return answer(null);
        case "unblock":
          engine.unblock();
          return answer(null);
        case "cut":
          return answer(this.#line.cutOthers());
        default:
          throw new WireError("an admin does not say this");
      }
    } catch (thrown) {
      if (!TallyError.is(thrown)) throw thrown;
      fail(thrown);
    }
  }

  gone(): void {
    this.#gone.abort(new TallyError("session-lost", "the connection is gone"));
  }

  #entries(entries: readonly { readonly entry: Entry; readonly state: string }[]): void {
    const messages = entries.map(({ entry, state }) => ({
      meta: JSON.stringify([state, entry.deliveries, metaOf(entry.message)]),
      body: entry.message.body,
    }));
    for (const frame of packFrames("entries", messages)) this.#line.send(frame);
  }
}

function readPlan(value: unknown): TopicPlan {
  if (typeof value !== "object" || value === null) throw new WireError("a plan that is no object");
  const plan = value as Record<string, unknown>;
  return { name: text(plan["name"]), ordered: flag(plan["ordered"]), groups: list(plan["groups"]).map(text) };
}
