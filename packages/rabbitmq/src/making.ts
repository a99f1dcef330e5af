import type { Channel } from "amqplib";
import { TallyError } from "@tallymq/core/spi";
import { classify } from "./errors.ts";
import type { ExchangePlan, QueuePlan } from "./plan.ts";
import { type Answer, askExchange, askQueue, type Opener } from "./questions.ts";
import { STREAM, type Work } from "./topics.ts";

/** Where declarations go, and a way to ask what would end that channel. */
export interface On {
  readonly channel: Channel;
  readonly open: Opener;
}

/** @throws TallyError `topology`, `unsupported` … */
export async function makeExchange({ channel, open }: On, plan: ExchangePlan, work: Work): Promise<void> {
  const what = `exchange ${JSON.stringify(plan.name)}`;
  if (work === "make")
    await during(
      what,
      channel.assertExchange(plan.name, plan.type, { durable: true, arguments: { ...plan.arguments } }),
    );
  else if (work === "look") await during(what, channel.checkExchange(plan.name));
  else if (work === "compare" && !compared(what, `a durable ${plan.type} exchange`, await askExchange(open, plan)))
    await during(what, channel.checkExchange(plan.name));
}

/** Whether it is known to be as planned, durable for one. @throws TallyError `topology`, `unsupported` … */
export async function makeQueue({ channel, open }: On, plan: QueuePlan, work: Work): Promise<boolean> {
  const what = `queue ${JSON.stringify(plan.name)}`;
  if (work === "make") {
    await during(what, channel.assertQueue(plan.name, { durable: true, arguments: { ...plan.arguments } }));
    return true;
  }
  if (work === "compare") {
    const expected = `a durable queue with ${Object.entries(plan.arguments)
      .map(([key, v]) => `${key} ${JSON.stringify(v)}`)
      .join(", ")}`;
    if (compared(what, expected, await askQueue(open, plan))) return true;
  }
  if (work !== "leave") await during(what, channel.checkQueue(plan.name));
  return false;
}

/** Whether it is known to be as expected; false: nobody says. @throws TallyError `topology`, `unsupported` */
function compared(what: string, expected: string, answer: Answer): boolean {
  const passive = 'declare: "passive" makes and changes nothing';
  if (answer.is === "hidden") return false;
  if (answer.is === "missing")
    throw new TallyError(
      "topology",
      `${what} is not there; expected ${expected}. ${passive}: let a program with declare: true make it, or whoever deploys`,
    );
  if (answer.differences.length === 0) return true;
  if (answer.differences.some(({ got }) => got === "stream"))
    throw new TallyError("unsupported", `${what} is a stream: ${STREAM}`);
  const all = answer.differences.map(
    ({ setting, expected, got }) => `${setting}: expected ${shown(expected)}, got ${shown(got)}`,
  );
  throw new TallyError(
    "topology",
    `${what} is not as it should be: ${all.join("; ")}. ${passive}: make it anew, or say in topics what it is like`,
  );
}

function shown(value: string | number | boolean | null): string {
  return value === null ? "nothing" : JSON.stringify(value);
}

export async function bind(
  channel: Channel,
  queue: string,
  exchange: string,
  bindings: readonly { readonly routingKey: string; readonly arguments: object }[],
): Promise<void> {
  for (const { routingKey, arguments: given } of bindings)
    await during(
      `binding of queue ${JSON.stringify(queue)}`,
      channel.bindQueue(queue, exchange, routingKey, { ...given }),
    );
}

/** Gives an error its meaning. */
export async function during<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    throw classify(thrown, what, "declaring");
  }
}
