import type { Delivery } from "@tallymq/core/spi";
import { headersOf } from "../codec.ts";
import type { DriverRecord, ReceivedRecord } from "../driver/driver.ts";
import { DELAY, DUE, dueOf, GROUP, leavesAt } from "./ladder.ts";

/** One that waits in its step, with all that it needs to leave. */
export interface Waiting {
  readonly delivery: Delivery;
  readonly record: ReceivedRecord;
  readonly headers: Readonly<Record<string, string>>;
  readonly due: number;
  readonly leaves: number;
}

/** @param delivery `native` of its message is the record */
export function waitingIn(step: number, delivery: Delivery): Waiting {
  const record = delivery.message.native as ReceivedRecord;
  const headers = headersOf(record.headers);
  const due = dueOf(record.timestamp, headers);
  return { delivery, record, headers, due, leaves: leavesAt(step, record.timestamp, due) };
}

/** The record without our words on its delay, or with when it is due. */
export function onItsWay({ record, headers, due }: Waiting, again: boolean): DriverRecord {
  const { [DELAY]: _, [DUE]: __, [GROUP]: group, ...rest } = headers;
  const all = Object.entries(rest).flat();
  if (again) all.push(DUE, String(due));
  if (again && group !== undefined) all.push(GROUP, group);
  return { key: record.key, value: record.value ?? new Uint8Array(0), headers: all };
}
