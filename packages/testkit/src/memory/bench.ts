import { type Clock, TallyError } from "@tallymq/core/spi";
import type { Engine } from "../broker/engine.ts";
import type { FaultScript } from "../faults/script.ts";

/** A session of the embedded broker in this process, as the fault script sees it. */
export interface Losable {
  lose(error: TallyError): void;
}

/** A member of a group, as it shows itself to the others. */
export interface Seat {
  readonly card: string;
  seen(card: string): void;
}

/** What all sessions of one embedded broker share. */
export interface Bench {
  readonly engine: Engine;
  readonly script: FaultScript;
  readonly clock: () => Clock;
  readonly sessions: Set<Losable>;
  /** Members by topic and group. */
  readonly seats: Map<string, Set<Seat>>;
  /** Numbers sessions for receiving, over all transports. */
  epoch: number;
}

export function sessionLost(): TallyError {
  return new TallyError("session-lost", "the session was cut by the fault script", { retryable: true });
}
