import type { Timer } from "../clock.ts";
import { TallyError } from "../error.ts";
import { storeError } from "../inbox/claims.ts";
import type { HalfKind } from "./kind.ts";
import type { Held } from "./machine.ts";

export interface HoldingOptions {
  readonly kind: Pick<HalfKind, "runtime" | "policy" | "store">;
  readonly id: string;
  /** It may be another process's by now: what it decides here still counts, if it is the first. */
  fenced(error: TallyError): void;
  surfaced(text: string): void;
}

/** The lease by which one half message is this process's, renewed at half of its time until it is let go. */
export class Holding {
  readonly #o: HoldingOptions;
  #held: Held | null = null;
  #timer: Timer | null = null;
  #over = false;

  constructor(options: HoldingOptions) {
    this.#o = options;
  }

  get place(): number | null {
    return this.#held?.place ?? null;
  }

  hold(held: Held): void {
    // The machine knows the fence by which it was first held; since then it may have been found again, by a newer one.
    this.#held = { ...held, fence: Math.max(held.fence, this.#held?.fence ?? 0) };
    this.#renewLater();
  }

  /** This process stood still for longer than its lease, and has found its own half message with nobody at it. */
  again(fence: number): void {
    if (this.#held !== null) this.#held = { ...this.#held, fence };
  }

  /** The fence by which it is ours now. */
  fence(held: Held): number {
    return this.#held?.fence ?? held.fence;
  }

  letGo(): void {
    this.#over = true;
    this.#timer?.cancel();
  }

  #renewLater(): void {
    const { runtime, policy, store } = this.#o.kind;
    this.#timer?.cancel();
    this.#timer = runtime.clock.after(policy.lease / 2, () => {
      const held = this.#held;
      if (held === null || this.#over) return;
      this.#renewLater();
      store.renew(held.place, held.fence, policy.lease).then(
        (ours) => {
          if (ours || this.#over || this.#held?.fence !== held.fence) return;
          this.#timer?.cancel();
          const text = "this process stood still for longer than its lease: another one may be checking";
          this.#o.fenced(new TallyError("fenced", text, { id: this.#o.id }));
        },
        (thrown: unknown) =>
          this.#o.surfaced(storeError("the lease of a half message could not be renewed", thrown).message),
      );
    });
  }
}
