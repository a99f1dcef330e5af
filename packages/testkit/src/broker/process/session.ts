import { type TallyError, textOf } from "@tallymq/core/spi";
import { encodeFrame, type Frame } from "../wire.ts";
import type { Store } from "./store.ts";

/** What one connection is for, once it has said hello. */
export interface Session {
  /** @throws WireError, or TallyError (answered, then the connection ends) */
  frame(frame: Frame): void;
  /** The connection is gone. Once. */
  gone(): void;
}

/** What a session may do with its connection. */
export interface Line {
  readonly store: Store;
  send(frame: Buffer): void;
  /** Reading stops as long as any of the reasons holds. */
  hold(reason: "blocked" | "disk", on: boolean): void;
  /** Ends all connections but this one; how many. */
  cutOthers(): number;
}

export function errorFrame(error: TallyError, extra: Readonly<Record<string, unknown>> = {}): Buffer {
  // The code stands apart; the message begins with it as well.
  return encodeFrame(JSON.stringify({ t: "error", code: error.code, message: textOf(error), ...extra }));
}
