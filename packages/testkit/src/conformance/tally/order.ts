import type { StandardSchema } from "@tallymq/core";

export interface Order {
  readonly n: number;
}

/** On the wire `{ n: "17" }`, in handlers `{ n: 17 }`. */
export const textual: StandardSchema<{ n: string }, Order> = {
  "~standard": {
    version: 1,
    vendor: "conformance",
    validate(value) {
      const n = (value as { n?: unknown } | null)?.n;
      return typeof n === "string" && /^\d+$/.test(n)
        ? { value: { n: Number(n) } }
        : { issues: [{ message: "digits", path: ["n"] }] };
    },
  },
};
