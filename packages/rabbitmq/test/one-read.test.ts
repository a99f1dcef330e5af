// What the broker says right behind an answer is read with it, in one piece, before anybody who awaits the answer has gone on.
import { describe, expect, it } from "vitest";
import type { AmqpScript, ServerChannel, ServerConnection } from "@tallymq/testkit/amqp-server";
import { message, ORDERS, Sending, signal, Stage } from "./stage.ts";

const SHUTDOWN = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";

/** Answers the first `name` and says the end right behind it. */
function endsBehind(
  name: string,
  end: (connection: ServerConnection, channel: ServerChannel | null) => void,
  answer: (connection: ServerConnection, channel: ServerChannel | null) => void,
): AmqpScript {
  let done = false;
  return {
    onMethod(method, connection, channel) {
      if (method.name !== name || done) return;
      done = true;
      answer(connection, channel);
      end(connection, channel);
      return "handled";
    },
  };
}

const ENDS = {
  "the connection's end": (connection: ServerConnection): void => connection.close(320, SHUTDOWN),
  "the channel's end": (_: ServerConnection, channel: ServerChannel | null): void =>
    channel!.close(541, "INTERNAL_ERROR"),
};

describe("the end of what has just opened, read together with the answer that opened it", () => {
  it("a connection that has ended is not kept: the next one who asks gets another", async () => {
    await using stage = await Stage.open(
      endsBehind("connection.open", ENDS["the connection's end"], (connection) =>
        connection.send("connection.open-ok"),
      ),
    );
    const first = await stage.transport.admin.declare([ORDERS], signal()).catch((e: unknown) => e);
    if (first !== undefined) expect(first).toMatchObject({ name: "TallyError", retryable: true });
    await stage.transport.admin.declare([ORDERS], signal());
  });

  for (const [what, end] of Object.entries(ENDS)) {
    for (const mode of ["confirm", "tx"] as const) {
      it(`${what} behind ${mode}.select-ok: the sender does not open, or says that it is lost`, async () => {
        await using stage = await Stage.open(
          endsBehind(`${mode}.select`, end, (_, channel) => channel!.send(`${mode}.select-ok`)),
          { mode, queueType: "classic" },
        );
        await stage.transport.admin.declare([ORDERS], signal());
        const sending = new Sending();
        const opened = await stage.transport.openSender(sending, signal()).catch((e: unknown) => e);
        if ("code" in (opened as object)) expect(opened).toMatchObject({ name: "TallyError", retryable: true });
        else {
          sending.sender = opened as Sending["sender"];
          sending.post([message(1)]);
          await sending.count(1);
          expect(sending.journal).toContain("lost");
        }
      });
    }
  }
});
