import { createHash } from "node:crypto";
import { seeded } from "./random.ts";

export const CUSTOMERS = 64;

export interface Order {
  /** `order-<n>`: chosen by the publisher, the same in each copy. */
  readonly id: string;
  readonly customer: string;
  readonly cents: number;
  readonly lines: readonly { readonly article: string; readonly pieces: number }[];
}

/** The n-th order of a run: nothing but its number and the seed decides what it holds. */
export function orderOf(n: number, seed: number): Order {
  const random = seeded(Math.imul(n + 1, 0x01000193) ^ seed);
  const pick = (below: number): number => Math.floor(random() * below);
  return {
    id: `order-${n}`,
    customer: `customer-${pick(CUSTOMERS)}`,
    cents: 100 + pick(99_900),
    lines: Array.from({ length: 1 + pick(6) }, () => ({ article: `article-${pick(10_000)}`, pieces: 1 + pick(9) })),
  };
}

/** Of the body as JSON, which both ends build from the same fields in the same order. */
export function hashOf(order: Order): string {
  return createHash("sha256").update(JSON.stringify(order)).digest("base64url").slice(0, 22);
}
