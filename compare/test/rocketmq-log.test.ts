import { expect, it } from "vitest";
import { bodiesOf } from "../faults/rocketmq/log.ts";

const ENDS = Buffer.from("\u0005topic\u0000\u0000", "latin1");

/** As a broker writes a message down. */
function stored(body: string, { ipv6 }: { readonly ipv6: boolean }): Buffer {
  const bytes = Buffer.from(body);
  const address = ipv6 ? 20 : 8;
  const fixed = Buffer.alloc(48 + address + 8 + address + 4 + 8);
  fixed.writeUInt32BE(ipv6 ? (1 << 4) | (1 << 5) : 0, 36);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  const all = Buffer.concat([fixed, length, bytes, ENDS]);
  all.writeUInt32BE(all.length, 0);
  return all;
}

it("bodies are read out of a broker's log, whatever length its addresses have", () => {
  const log = Buffer.concat([
    stored('{"id":"order-1"}', { ipv6: false }),
    stored("größer", { ipv6: true }),
    stored("", { ipv6: false }),
    stored("last", { ipv6: false }),
  ]);
  expect(bodiesOf(log)).toEqual(['{"id":"order-1"}', "größer", "", "last"]);
  expect(bodiesOf(Buffer.alloc(0))).toEqual([]);
});
