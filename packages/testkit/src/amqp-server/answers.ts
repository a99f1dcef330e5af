import type { ServerChannel } from "./channel.ts";
import type { Arguments, DecodedMethod } from "./methods.ts";

type Args = DecodedMethod["args"];
type Answer = readonly [method: string, args?: Arguments];

let named = 0;

/** What an honest broker answers to a method on a channel; absent: it answers nothing. */
const ANSWERS: Readonly<Record<string, (args: Args, channel: ServerChannel) => Answer>> = {
  "channel.open": () => ["channel.open-ok"],
  "channel.flow": ({ active }) => ["channel.flow-ok", { active: active === true }],
  "channel.close": (_, channel) => {
    channel.state = "closed";
    return ["channel.close-ok"];
  },
  "exchange.declare": () => ["exchange.declare-ok"],
  "exchange.delete": () => ["exchange.delete-ok"],
  "exchange.bind": () => ["exchange.bind-ok"],
  "exchange.unbind": () => ["exchange.unbind-ok"],
  "queue.declare": ({ queue }) => [
    "queue.declare-ok",
    { queue: queue === "" ? `amq.gen-${++named}` : (queue as string) },
  ],
  "queue.bind": () => ["queue.bind-ok"],
  "queue.unbind": () => ["queue.unbind-ok"],
  "queue.purge": () => ["queue.purge-ok"],
  "queue.delete": () => ["queue.delete-ok"],
  "basic.qos": ({ prefetchCount }, channel) => {
    channel.prefetch = prefetchCount as number;
    return ["basic.qos-ok"];
  },
  "basic.consume": (args, channel) => {
    const tag = args["consumerTag"] === "" ? `amq.ctag-${++named}` : (args["consumerTag"] as string);
    channel.consumers.set(tag, {
      tag,
      queue: args["queue"] as string,
      noAck: args["noAck"] === true,
      exclusive: args["exclusive"] === true,
      args,
    });
    return ["basic.consume-ok", { consumerTag: tag }];
  },
  "basic.cancel": ({ consumerTag }, channel) => {
    channel.consumers.delete(consumerTag as string);
    return ["basic.cancel-ok", { consumerTag: consumerTag as string }];
  },
  "basic.get": () => ["basic.get-empty"],
  "basic.recover": () => ["basic.recover-ok"],
  "confirm.select": () => ["confirm.select-ok"],
  "tx.select": () => ["tx.select-ok"],
  "tx.commit": () => ["tx.commit-ok"],
  "tx.rollback": () => ["tx.rollback-ok"],
};

export function answer({ name, args }: DecodedMethod, channel: ServerChannel): void {
  const reply = ANSWERS[name]?.(args, channel);
  if (reply !== undefined && args["nowait"] !== true) channel.send(...reply);
}
