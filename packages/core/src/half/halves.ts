import { leave } from "../clock.ts";
import { TallyError } from "../error.ts";
import { text } from "../policy.ts";
import type { BrokerHalves } from "./broker.ts";
import { DeclaredHalf, type HalvesOptions } from "./declared.ts";
import { type Half, type HalfOptions, resolveHalf } from "./options.ts";
import type { HalfStore } from "./store.ts";

/** The declared half messages of one tally. */
export class Halves {
  readonly #o: Omit<HalvesOptions, "store" | "closing"> & { readonly store: HalfStore | null };
  readonly #declared: Map<string, DeclaredHalf> = new Map();
  readonly #closing: AbortController = new AbortController();

  /** Dropped by the broker: see {@link BrokerHalves.dropped}. */
  get dropped(): BrokerHalves["dropped"] {
    return this.#o.broker?.dropped ?? null;
  }

  /** @param options `store` is null where there is no outbox, or one that keeps no half messages. */
  constructor(options: Omit<HalvesOptions, "store" | "closing"> & { readonly store: HalfStore | null }) {
    this.#o = options;
  }

  /** @throws TallyError `bad-config`, `unsupported` */
  declare<In, Out>(name: string, options: HalfOptions<In, Out>): Half<In> {
    text("", 120).read("half: name", name);
    if (this.#declared.has(name))
      throw new TallyError("bad-config", `half ${JSON.stringify(name)} is declared already`);
    const resolved = resolveHalf(name, options, this.#o.broker);
    const { store, ...rest } = this.#o;
    if (store === null)
      throw new TallyError(
        "unsupported",
        `half ${JSON.stringify(name)} needs an outbox that keeps half messages: give one to openTally`,
      );
    const declared = new DeclaredHalf({ name, ...resolved }, { ...rest, store, closing: this.#closing.signal });
    this.#declared.set(name, declared);
    return declared as Half<never> as Half<In>;
  }

  /** Nothing begins any more; what is at work comes to its end, or at the limit is left to `check`. */
  async close(within: number): Promise<void> {
    const { runtime, broker } = this.#o;
    const until = runtime.clock.now() + within;
    this.#closing.abort(new TallyError("closed", "the tally is closed"));
    await Promise.all([...this.#declared.values()].map((declared) => declared.close(within)));
    if (broker !== null) await leave(runtime.clock, until, broker.close());
  }
}
