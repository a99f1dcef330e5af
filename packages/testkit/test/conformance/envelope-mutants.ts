import type { Delivery, Incoming } from "@tallymq/core/spi";
import type { Mutant, Wrong } from "./broken.ts";

function message(change: (message: Incoming) => Partial<Incoming>): Wrong {
  return {
    delivery: (delivery: Delivery) => ({ ...delivery, message: { ...delivery.message, ...change(delivery.message) } }),
  };
}

function headers(change: (headers: Record<string, string>) => void): Wrong {
  return message((m) => {
    const copy: Record<string, string> = Object.assign(Object.create(null), m.headers);
    change(copy);
    return { headers: copy };
  });
}

const FIELDS = "every field of a message arrives";
const BODIES = "bodies arrive byte for byte: none, one, 1 MiB, and a view into a larger buffer";
const lost = [
  "producer",
  "run",
  "seq",
  "key",
  "type",
  "contentType",
  "contentEncoding",
  "time",
  "correlationId",
  "causationId",
] as const;

export const envelopeMutants: readonly Mutant[] = [
  ...lost.map((field): Mutant => ({
    name: `${field} is lost`,
    caughtBy: FIELDS,
    wrong: message(() => ({ [field]: null })),
  })),
  { name: "the id is another", caughtBy: FIELDS, wrong: message((m) => ({ id: `${m.id}!` })) },
  { name: "the topic is another", caughtBy: FIELDS, wrong: message((m) => ({ topic: `${m.topic}.queue` })) },
  { name: "attempt starts again", caughtBy: FIELDS, wrong: message(() => ({ attempt: 1 })) },
  { name: "time is off by a second", caughtBy: FIELDS, wrong: message((m) => ({ time: m.time! - 1_000 })) },
  { name: "traceparent is lost", caughtBy: FIELDS, wrong: headers((h) => delete h["traceparent"]) },
  { name: "tracestate is lost", caughtBy: FIELDS, wrong: headers((h) => delete h["tracestate"]) },
  {
    name: "no key arrives as an empty one",
    caughtBy: "a field without a value arrives as null",
    wrong: message((m) => ({ key: m.key ?? "" })),
  },
  {
    name: "a missing type is made up",
    caughtBy: "a field without a value arrives as null",
    wrong: message((m) => ({ type: m.type ?? m.topic })),
  },
  {
    name: "ids are cut at 254 bytes",
    caughtBy: "an id and a key of 255 bytes arrive whole",
    wrong: message((m) => ({ id: m.id!.slice(0, 127) })),
  },
  {
    name: "keys are cut at 254 bytes",
    caughtBy: "an id and a key of 255 bytes arrive whole",
    wrong: message((m) => ({ key: m.key!.slice(0, 254) })),
  },
  {
    name: "empty headers are dropped",
    caughtBy: "headers arrive as they were written",
    wrong: headers((h) => Object.keys(h).forEach((k) => h[k] === "" && delete h[k])),
  },
  {
    name: "headers are Latin-1",
    caughtBy: "headers arrive as they were written",
    wrong: headers((h) => Object.keys(h).forEach((k) => (h[k] = Buffer.from(h[k]!, "latin1").toString("latin1")))),
  },
  {
    name: "header names are lowered",
    caughtBy: "headers arrive as they were written",
    wrong: message((m) => ({ headers: lowered(m.headers) })),
  },
  {
    name: "headers are an ordinary object",
    caughtBy: "a header named __proto__ does no harm",
    wrong: message((m) => ({ headers: { ...m.headers } })),
  },
  {
    name: "a header __proto__ becomes the prototype",
    caughtBy: "a header named __proto__ does no harm",
    wrong: message((m) => ({
      headers: Object.setPrototypeOf({ ...m.headers }, { evil: "yes" }) as Record<string, string>,
    })),
  },
  {
    name: "our own headers show",
    caughtBy: "our own headers are not among the caller's",
    wrong: headers((h) => (h["tally-key"] = "k")),
  },
  { name: "bodies are cut at 64 KiB", caughtBy: BODIES, wrong: message((m) => ({ body: m.body.subarray(0, 65_536) })) },
  {
    name: "an empty body becomes null bytes",
    caughtBy: BODIES,
    wrong: message((m) => (m.body.length === 0 ? { body: new Uint8Array(1) } : {})),
  },
  {
    name: "a view is sent with the buffer before it",
    caughtBy: BODIES,
    wrong: { outgoing: (m) => ({ ...m, body: new Uint8Array(m.body.buffer, 0, m.body.length) }) },
  },
  {
    name: "bodies are views into a buffer that is used again",
    caughtBy: BODIES,
    wrong: (() => {
      const shared = new Uint8Array(2 * 1024 * 1024);
      return message((m) => {
        shared.set(m.body);
        return { body: shared.subarray(0, m.body.length) };
      });
    })(),
  },
  {
    name: "a foreign message gets an id made from its body",
    caughtBy: "a foreign message arrives with null for what its sender did not say",
    wrong: message((m) => ({ id: m.id ?? Buffer.from(m.body).toString("hex") })),
  },
  {
    name: "a foreign message counts as ours",
    caughtBy: "a foreign message arrives with null for what its sender did not say",
    wrong: message((m) => ({ producer: m.producer ?? "conformance" })),
  },
];

function lowered(given: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const copy: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(given)) copy[name.toLowerCase()] = value;
  return copy;
}
