import { collectGarbage } from "@tallymq/testkit";
import { expect, it, vi } from "vitest";
import { RabbitChannel } from "../src/channel.ts";
import { Sending, signal, Stage } from "./stage.ts";

it("a connection keeps nothing of channels that are closed, however many there were: each question for a backlog has one", async () => {
  const closed: WeakRef<RabbitChannel>[] = [];
  const { close } = RabbitChannel.prototype;
  using _ = vi.spyOn(RabbitChannel.prototype, "close").mockImplementation(function (this: RabbitChannel) {
    closed.push(new WeakRef(this));
    return close.call(this);
  });
  await using stage = await Stage.open({});
  await stage.sender();
  const never = new AbortController().signal;
  for (let i = 0; i < 50; i++) await stage.transport.admin.backlog("orders", "billing", never);
  await expect.poll(() => stage.server.connections[0]!.channels.size).toBe(1);
  vi.mocked(RabbitChannel.prototype.close).mockClear();
  collectGarbage();
  expect(closed.length).toBeGreaterThanOrEqual(50);
  // The last ones may still be on the stack.
  expect(closed.filter((channel) => channel.deref() !== undefined).length).toBeLessThan(5);
});

it("a connection that ends while a channel opens says why", async () => {
  await using stage = await Stage.open({
    onMethod(method, connection) {
      if (method.name !== "channel.open") return;
      connection.close(320, "CONNECTION_FORCED - shutdown");
      return "handled";
    },
  });
  await expect(stage.transport.openSender(new Sending(), signal())).rejects.toMatchObject({
    retryable: true,
    message: expect.stringMatching(/320.*shutdown/) as string,
  });
});
