// What bad input gets, row by row as one table. Every row is a test named after it, in the room that refuses the input.
import { describe, expect, it } from "vitest";
import { untested } from "./titles.ts";

const ROWS: Readonly<Record<string, readonly string[]>> = {
  configuration: [
    "no brokers, `brokers: []`; broker without a port; `http://` or malformed URL: rejected at construction, credentials redacted",
    "unknown option key: rejected, with the nearest known key",
    'timeout 0, −1, NaN, "5 parsecs", 2³¹: rejected',
    "window or prefetch 0 or 1e9; retries Infinity without a cap on the delay: rejected",
    "heartbeat 0: only explicitly; warn",
    "dedupe TTL shorter than the longest possible redelivery: rejected, with the sum shown",
    "retry queue = source queue; DLQ = source queue: rejected",
    "outbox path missing, read-only, a symbolic link elsewhere: fail at start",
    "two processes on a store made for one: the second fails, naming the first's pid",
    "configuration with `__proto__`: rejected",
    "certificate and key don't match: fail at start, no key in the message",
  ],
  body: [
    "undefined, function, symbol; cyclic; BigInt; throwing getter or `toJSON`; depth 5,000: rejected, no partial write",
    "empty buffer, null where the codec allows it: round-trips",
    "one byte over the limit: rejected before the outbox",
    "body mutated after `publish()`: the message is a snapshot",
    "gzip bomb, truncated gzip, wrong content-encoding, invalid UTF-8, JSON with `__proto__` (received): parsed safely; dead-lettered with the raw bytes kept",
    "unknown schema version, failing schema (received): dead-lettered or parked, never dropped",
  ],
  "headers, ids, keys": [
    "header undefined / function / BigInt / NaN / Infinity / lone surrogate / cyclic / over 64 KiB: rejected before the outbox",
    "received `__proto__` / `constructor` header: null-prototype copy, no pollution",
    'spoofed Tally header (attempt −1, "abc", 1e308; foreign id): treated as 1, surfaced; attempts capped',
    "CR/LF in a header: escaped in logs and pages",
    "id missing: generated when sent; a foreign message gets a derived id",
    "id empty, numeric, over 255 bytes, with NUL, `../`, quotes: rejected or opaque; stores are parameterised",
    "same id, different body: conflict surfaced, never overwritten",
    "same id from two sources: namespaced by source",
    "ids equal after Unicode normalisation: bytes compared",
    'key null / 10 MB; routing key over 255 bytes; `expiration: "abc"`: documented / rejected before the channel closes',
  ],
  stores: [
    "torn tail at each byte; bit flip in the middle; impossible state: prefix recovered; that record quarantined; surfaced",
    "zero-length store: fresh only if it was never initialised",
    "a newer store version: refused",
    "store deleted or disk full at run time: sends reject; nothing accepted is lost",
  ],
  broker: [
    "confirm for tag 0 with `multiple`, for a tag never published, twice: the channel is dropped, unconfirmed messages are in doubt",
    "nack then ack; return without confirm; confirm that never comes: first wins, surfaced; time-out path",
    "4 GiB frame header, random frame bytes: refused, connection closed, no crash",
    "delivery after cancel: ignored",
    "expired receipt handle; partial receipts: comes again, deduped; only listed ids are confirmed",
    "unknown error code: surfaced, treated as in doubt",
    "OUT_OF_ORDER_SEQUENCE, UNKNOWN_PRODUCER_ID: new producer, dedupe covers the gap",
  ],
  handlers: [
    "throws undefined, a string, a frozen error: wrapped, retried by policy",
    "never settles: time-out; with `tx` its late effect is fenced, otherwise surfaced as a late effect",
    "settles twice: no-op, `false` returned",
    "kills the process each time (crash poison): counted as started attempts; dead-lettered after the limit",
  ],
};

describe("every row of bad input is a test named after it", () => {
  it.each(Object.entries(ROWS))("%s", (_section, rows) => {
    expect(untested(rows)).toEqual([]);
  });
});

describe("a title counts", () => {
  it("where a test has it, word for word, and nowhere else", () => {
    expect(untested(["header undefined"])).toEqual(["header undefined"]);
    expect(untested(["configuration with `__proto__`: rejected, or not"])).toHaveLength(1);
    // A text of some test, and no title.
    expect(untested(["canary-4711"])).toHaveLength(1);
  });
});
