import type { Clock, Random } from "./clock.ts";
import type { Events } from "./events.ts";
import type { Backoff } from "./backoff.ts";
import type { Transport } from "./port/transport.ts";

/** What the rooms of one tally share: ports, the transport, and the policies that both sides use. */
export interface Runtime {
  readonly service: string;
  /** 128 random bits, hex: this `openTally()`. */
  readonly run: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: Events;
  readonly transport: Transport;
  /** Between tries to open a session. */
  readonly reconnect: Backoff;
  /** One try to open a session may take so long, in milliseconds. */
  readonly connectWithin: number;
}
