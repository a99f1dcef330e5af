import type { TallyError } from "@tallymq/core/spi";

/** What can be done to one copy on its way to the broker. */
export interface SendFaults {
  /** Stored, but no verdict ever comes while the session lives. */
  dropVerdict(): void;
  /** Stored; its verdict comes `ms` later, and those of later copies pass it. */
  delayVerdict(ms: number): void;
  /** Not stored: verdict `later`. @param afterMs @default 0 */
  nack(afterMs?: number): void;
  /** Not stored: verdict `unroutable`, as if no group were bound. */
  returnUnroutable(): void;
  /** Not stored: verdict `refused`. */
  refuse(error?: TallyError): void;
  /** The session ends before any verdict of this copy. @param options.stored Whether the broker has it. @default true */
  loseSession(options?: { readonly stored?: boolean }): void;
  /** The broker reads nothing more, this copy included, until `faults.unblock()`. */
  block(reason?: string): void;
}

/** What can be done to one delivery. */
export interface DeliverFaults {
  /** The message is delivered once more while the first delivery is still out. */
  duplicateDelivery(): void;
  /** The session ends instead of delivering. */
  loseSession(): void;
}

/** What can be done to one settlement. */
export interface SettleFaults {
  /** It never reaches the broker: the delivery stays out until its session ends, then comes again. */
  dropSettlement(): void;
  /** It does not take, and the receiver is told: the delivery comes again at once. */
  rejectSettlement(): void;
  /** The session ends before this settlement. */
  loseSession(): void;
}

/** What can be done to an attempt to open a session, or to declare. */
export interface OpenFaults {
  /** This one and the next `times - 1` fail. @param error @default `unreachable` @param times @default 1 */
  fail(times?: number, error?: TallyError): void;
  /** Never settles, unless its signal fires. */
  hang(): void;
}

/** Where a fault can strike, and what can happen there. */
export interface FaultPoints {
  /** One copy of a message given to `send`. */
  readonly send: SendFaults;
  /** One delivery about to be handed to a receiver. */
  readonly deliver: DeliverFaults;
  /** One settlement. */
  readonly settle: SettleFaults;
  /** A session, of either kind. */
  readonly open: OpenFaults;
  readonly openSender: OpenFaults;
  readonly openReceiver: OpenFaults;
  /** One call of `admin.declare`. */
  readonly declare: OpenFaults;
}

/** The name of a place where a fault can strike. */
export type FaultPoint = keyof FaultPoints;

/** A fault as the adapter sees it when it strikes. */
export interface FaultEffects {
  readonly send:
    | { readonly do: "dropVerdict" | "returnUnroutable" }
    | { readonly do: "delayVerdict" | "nack"; readonly ms: number }
    | { readonly do: "refuse"; readonly error: TallyError | null }
    | { readonly do: "loseSession"; readonly stored: boolean }
    | { readonly do: "block"; readonly reason: string };
  readonly deliver: { readonly do: "duplicateDelivery" | "loseSession" };
  readonly settle: { readonly do: "dropSettlement" | "rejectSettlement" | "loseSession" };
  readonly open: OpenEffect;
  readonly openSender: OpenEffect;
  readonly openReceiver: OpenEffect;
  readonly declare: OpenEffect;
}

export type OpenEffect = { readonly do: "fail"; readonly error: TallyError | null } | { readonly do: "hang" };

/** Turns the words of one point into effects, given to `arm` with how often in a row they strike. */
export const WORDS: {
  readonly [P in FaultPoint]: (arm: (effect: FaultEffects[P], times?: number) => void) => FaultPoints[P];
} = {
  send: (arm) => ({
    dropVerdict: () => arm({ do: "dropVerdict" }),
    delayVerdict: (ms) => arm({ do: "delayVerdict", ms }),
    nack: (afterMs = 0) => arm({ do: "nack", ms: afterMs }),
    returnUnroutable: () => arm({ do: "returnUnroutable" }),
    refuse: (error) => arm({ do: "refuse", error: error ?? null }),
    loseSession: (options) => arm({ do: "loseSession", stored: options?.stored ?? true }),
    block: (reason = "blocked by the fault script") => arm({ do: "block", reason }),
  }),
  deliver: (arm) => ({
    duplicateDelivery: () => arm({ do: "duplicateDelivery" }),
    loseSession: () => arm({ do: "loseSession" }),
  }),
  settle: (arm) => ({
    dropSettlement: () => arm({ do: "dropSettlement" }),
    rejectSettlement: () => arm({ do: "rejectSettlement" }),
    loseSession: () => arm({ do: "loseSession" }),
  }),
  open: opening,
  openSender: opening,
  openReceiver: opening,
  declare: opening,
};

function opening(arm: (effect: OpenEffect, times?: number) => void): OpenFaults {
  return {
    fail: (times = 1, error) => arm({ do: "fail", error: error ?? null }, times),
    hang: () => arm({ do: "hang" }),
  };
}
