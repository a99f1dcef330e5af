import { join } from "node:path";
import { bytes as raw, openTally, type Receipt, type Tally, type Topic, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { startProxy } from "./away.ts";
import { bodyOf, publishWindow } from "../clients/publish-window.ts";
import { Meter } from "./meter.ts";
import { idOf, keyOf, lost, queueOf, readQueue, remove } from "./queue.ts";
import { watchStalls } from "./stall.ts";
import { sleep, watchedOutbox } from "./stores.ts";
import type { OutboxMeasure, OutboxTask } from "./task.ts";

const GROUP = "bench";
/** Of the rule's run; less where the machine cannot do it. */
const MOST_DEMAND = 60_000;
/** Of what callers that wait for each other get through: the broker and its client must have time left for the backlog. */
const SHARE = 0.4;
const CALIBRATE = 20_000;
const CALM_MS = 2_000;
const WITHIN_MS = 90_000;

/**
 * Demand that does not care how the broker is: so many messages a second over 5,000 ordered keys, before, during and after
 * ten seconds without a broker. Sending is direct again when no receipt says `stored` any more and the outbox is empty.
 */
export async function outage({ broker, folder, bytes, seconds }: OutboxTask): Promise<OutboxMeasure> {
  if (broker === null) throw new Error("an outage needs a broker");
  await using away = await startProxy(broker.port);
  const orders = topic<Uint8Array>(broker.topic, { codec: raw, key: () => "-", ordered: true, groups: [GROUP] });
  const outbox = watchedOutbox(join(folder, "outbox.db"));
  const url = new URL(broker.url);
  url.port = String(away.port);
  const tally = await openTally({
    service: "bench",
    broker: rabbitmq({ urls: [url.href] }),
    outbox: outbox.spec,
    topics: [orders],
    reconnect: { max: "200ms" },
    publish: { deadline: "10m" },
  });
  const load = new Load(tally, orders, bodyOf(bytes));
  const began = performance.now();
  await publishWindow((n) => load.publish(n), 0, CALIBRATE, 1_000);
  const capacity = CALIBRATE / ((performance.now() - began) / 1_000);
  const demand = Math.min(MOST_DEMAND, Math.floor((SHARE * capacity) / 1_000) * 1_000);

  const [meter, stalls] = [new Meter(), watchStalls()];
  load.start(demand);
  await sleep(CALM_MS);
  await away.refuse();
  await sleep(seconds * 1_000);
  const stored = load.stored;
  const rows = await outbox.rows();
  await away.heal();
  const back = performance.now();
  while (performance.now() - back < WITHIN_MS) {
    await sleep(20);
    if (performance.now() - Math.max(back, load.lastStored) > CALM_MS && (await outbox.rows()) === 0) break;
  }
  const returned = Math.max(load.lastStored, back) - back;
  const direct = performance.now() - back < WITHIN_MS;
  const sent = load.stop();
  const figures = meter.end(sent - CALIBRATE);
  const stall = stalls();
  await load.idle();
  await tally.close();
  const queue = queueOf(broker.topic, GROUP);
  const found = await readQueue(broker.url, queue, sent);
  await remove(broker.url, broker.topic, queue);
  return {
    rate: figures.rate,
    cpuMicros: figures.cpuMicros,
    stall,
    said: {
      demand,
      secondsUntilDirect: returned / 1_000,
      storedInOutage: stored,
      rowsWhenBack: rows,
      storedAfter: load.stored - stored,
      mostWaiting: load.mostWaiting,
      duplicates: found.copies - found.ids.size,
    },
    problems: [
      ...(direct ? [] : [`${WITHIN_MS / 1_000} s after the broker came back messages are still stored`]),
      ...(load.rejected === 0 ? [] : [`${load.rejected} publishes were rejected`]),
      ...lost(found, sent - load.rejected),
    ],
  };
}

/** Publishes at a rate, whatever becomes of it. */
class Load {
  readonly #tally: Tally;
  readonly #topic: Topic<Uint8Array>;
  readonly #body: Uint8Array;
  #timer: NodeJS.Timeout | undefined;
  #next = CALIBRATE;
  #answered = CALIBRATE;
  stored = 0;
  rejected = 0;
  lastStored = 0;
  mostWaiting = 0;

  constructor(tally: Tally, topic: Topic<Uint8Array>, body: Uint8Array) {
    this.#tally = tally;
    this.#topic = topic;
    this.#body = body;
  }

  publish(n: number): Promise<Receipt> {
    return this.#tally.publish(this.#topic, this.#body, { id: idOf(n), key: keyOf(n) });
  }

  start(demand: number): void {
    const [from, first] = [performance.now(), this.#next];
    const tick = (): void => {
      const due = first + Math.floor(((performance.now() - from) / 1_000) * demand);
      while (this.#next < due) {
        this.publish(this.#next++).then(
          ({ state }) => {
            this.#answered++;
            if (state !== "stored") return;
            this.stored++;
            this.lastStored = performance.now();
          },
          () => {
            this.#answered++;
            this.rejected++;
          },
        );
      }
      this.mostWaiting = Math.max(this.mostWaiting, this.#next - this.#answered);
    };
    this.#timer = setInterval(tick, 2);
  }

  /** @returns how many were published in all. */
  stop(): number {
    clearInterval(this.#timer);
    return this.#next;
  }

  async idle(): Promise<void> {
    while (this.#answered < this.#next) await sleep(10);
  }
}
