// amqplib as the client of the scripted server, with what it reports collected as data.
import { connect } from "amqplib";
import type { ChannelModel, ConfirmChannel, Message } from "amqplib";
import { scriptedAmqp } from "@tallymq/testkit/amqp-server";
import type { AmqpScript, AmqpServerOptions, ScriptedAmqp } from "@tallymq/testkit/amqp-server";

export interface Client extends AsyncDisposable {
  readonly server: ScriptedAmqp;
  readonly connection: ChannelModel;
  readonly channel: ConfirmChannel;
  /** Events of the connection and the channel, in order, as `name detail`. */
  readonly events: string[];
  /** Waits until an event is there. */
  event(pattern: RegExp): Promise<string>;
  /** Publishes and resolves with the confirm's answer: "ok" or the error's message. */
  publish(id: string, mandatory?: boolean): Promise<string>;
}

export async function client(
  script: AmqpScript = {},
  options: AmqpServerOptions = {},
  socket: object = {},
): Promise<Client> {
  const server = await scriptedAmqp(script, options);
  const events: string[] = [];
  const waiting = new Set<() => void>();
  const say = (text: string): void => {
    events.push(text);
    for (const look of waiting) look();
  };
  const connection = await connect(server.url, { timeout: 5000, ...socket });
  connection.on("error", (error: Error) => say(`connection error ${error.message}`));
  connection.on("close", () => say("connection close"));
  connection.on("blocked", (reason: string) => say(`blocked ${reason}`));
  connection.on("unblocked", () => say("unblocked"));
  const channel = await connection.createConfirmChannel();
  channel.on("error", (error: Error & { code?: number; classId?: number; methodId?: number }) =>
    say(`channel error ${error.code} ${error.classId}.${error.methodId} ${error.message}`),
  );
  channel.on("close", () => say("channel close"));
  channel.on("return", (message: Message) =>
    say(`return ${message.properties.messageId} ${(message.fields as { replyCode?: number }).replyCode}`),
  );
  channel.on("ack", ({ deliveryTag, multiple }: { deliveryTag: number; multiple: boolean }) =>
    say(`ack ${deliveryTag}${multiple ? " multiple" : ""}`),
  );
  channel.on("nack", ({ deliveryTag, multiple }: { deliveryTag: number; multiple: boolean }) =>
    say(`nack ${deliveryTag}${multiple ? " multiple" : ""}`),
  );
  return {
    server,
    connection,
    channel,
    events,
    event: (pattern) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no event ${pattern}; came: ${events.join(" | ")}`)), 5000);
        const look = (): void => {
          const found = events.find((text) => pattern.test(text));
          if (found === undefined) return;
          clearTimeout(timer);
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    publish: (id, mandatory = true) =>
      new Promise((resolve) => {
        channel.publish(
          "x",
          "rk",
          Buffer.from(`body of ${id}`),
          { messageId: id, mandatory },
          (error: Error | null) => {
            const verdict = error === null || error === undefined ? "ok" : error.message || "nacked";
            say(`verdict ${id} ${verdict}`);
            resolve(verdict);
          },
        );
      }),
    [Symbol.asyncDispose]: async () => {
      // A client whose socket is gone, or that is blocked, would wait for an answer for ever.
      await Promise.race([
        connection.close().catch(() => {}),
        server.connection.closed,
        new Promise((resolve) => setTimeout(resolve, 500)),
      ]);
      await server[Symbol.asyncDispose]();
    },
  };
}
