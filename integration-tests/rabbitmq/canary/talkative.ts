/** A process that shows all that it can of what goes wrong, and ends with a rejection that nobody handles. */
import { subscribe } from "node:diagnostics_channel";
import { inspect } from "node:util";
import { EVENT_CHANNEL, openTally, type Tally, topic } from "@tallymq/core";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { sqlite } from "@tallymq/store-sqlite";

const { HOST, LOGIN, VHOST, HEADER, BODY, FOLDER } = process.env as Record<string, string>;
const headers = { note: HEADER! };
const body = { note: BODY };

subscribe(EVENT_CHANNEL, (event) => console.log(inspect(event, { depth: 9 }), JSON.stringify(event)));

async function open(what: string, url: string, more: Partial<RabbitOptions> = {}): Promise<Tally | null> {
  console.log(`== ${what}`);
  try {
    return await openTally({
      service: "shop",
      broker: rabbitmq({ urls: [url], ...more }),
      outbox: sqlite(`${FOLDER}/outbox.db`),
      inbox: sqlite(`${FOLDER}/inbox.db`),
      spill: { after: "50ms" },
      reconnect: { max: "50ms" },
    });
  } catch (thrown) {
    console.error(thrown);
    return null;
  }
}

async function leave(tally: Tally | null): Promise<void> {
  if (tally === null) return;
  console.log(tally, await tally.health(), tally.counters());
  await tally.close({ within: "1s" });
}

const show = (thrown: unknown): void => console.error(thrown, JSON.stringify(thrown), String(thrown));
const at = `${LOGIN}@${HOST}`;
const [, port] = HOST!.split(":");

await leave(await open("wrong password", `amqp://${LOGIN}x@${HOST}/${VHOST}`));
await leave(await open("TLS where there is none", `amqps://${at}/${VHOST}`));
await leave(await open("no such virtual host", `amqp://${at}/not-there`));
for (const url of [`amqp://${LOGIN}@127.0.0.1:1/${VHOST}`, `amqps://${LOGIN}@no-such-host.invalid/${VHOST}`]) {
  const away = await open("unreachable", url, { name: "away" });
  console.log(await away?.publish(topic("away"), body, { headers }).catch(show));
  await leave(away);
}
try {
  rabbitmq({ urls: [`amqp://${LOGIN}@mq.example:${port}`] });
} catch (thrown) {
  show(thrown);
}

const tally = (await open("at work", `amqp://${at}/${VHOST}`))!;
const orders = topic("orders", { groups: ["billing"], maxBytes: 10_000 });
await tally.publish(orders, body, { headers }).then(console.log, show);
await tally.publish(topic("nowhere", { outbox: "off" }), body, { headers }).catch(show);
await tally.publish(topic("kept", { outbox: "always" }), body, { headers }).then(console.log, show);
await tally.publish(orders, { ...body, n: 1n } as never, { headers }).catch(show);
await tally.publish(orders, { ...body, long: BODY!.repeat(1_000) }, { headers }).catch(show);
await tally.publish(orders, body, { headers: { note: `${HEADER}\ud800` } }).catch(show);
const strings = topic<Uint8Array>("orders", {
  groups: ["billing"],
  codec: { contentType: "application/json", encode: (b) => b, decode: (b) => b },
});
await tally.publish(strings, Buffer.from(`{"note":"${BODY}`), { headers }).catch(show);
const consumer = await tally
  .consumer("billing", { attempts: 1, maxAttempts: 1 })
  .on(orders, () => Promise.reject(new Error("as the handler says")))
  .start();
while ((tally.counters()["dead-lettered"] ?? 0) < 2 || (tally.counters()["parked"] ?? 0) < 1)
  await new Promise((resolve) => setTimeout(resolve, 20));
console.log(consumer, await tally.health());
await consumer.close();

console.log("== the end");
// Refused by the broker when all is well: nobody handles it, and Node prints what it has.
void tally.publish(topic("nowhere", { outbox: "off" }), body, { headers });
