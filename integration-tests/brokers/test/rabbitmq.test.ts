import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../engine/wait.ts";
import { RabbitNode, startRabbit } from "../index.ts";
import { client, publish, quorumQueue, stateAfter } from "./helpers.ts";

let rabbit: RabbitNode;
beforeAll(async () => void (rabbit = await startRabbit()));
afterAll(() => rabbit.stop());

test("a confirmed message outlives kill -9, and the broker comes back on the same port", async () => {
  const { port } = rabbit;
  await using user = await client(rabbit.url);
  const queue = await quorumQueue(user.channel);
  await publish(user.channel, queue, Buffer.from("kept"));
  await rabbit.admin.flushDeclares();
  await rabbit.kill();
  await user.lost;
  await expect(client(rabbit.url)).rejects.toMatchObject({ code: expect.stringMatching(/ECONNREFUSED|ECONNRESET/) });
  await rabbit.start();
  expect(rabbit.port).toBe(port);
  await using again = await client(rabbit.url);
  const message = await again.channel.get(queue);
  expect(message !== false && message.content.toString()).toBe("kept");
});

test("paused, the broker gives no verdict; unpaused, it gives them", async () => {
  await using user = await client(rabbit.url);
  const queue = await quorumQueue(user.channel);
  await rabbit.pause();
  expect(await rabbit.state()).toBe("paused");
  const verdict = publish(user.channel, queue, Buffer.from("frozen"));
  expect(await stateAfter(verdict, 700)).toBe("pending");
  await rabbit.unpause();
  await verdict;
  expect(await rabbit.admin.ready(queue)).toBe(1);
});

test.each(["memory", "disk"] as const)("a %s alarm blocks a publisher until it is cleared", async (alarm) => {
  await using user = await client(rabbit.url);
  const queue = await quorumQueue(user.channel);
  await rabbit.admin.setAlarm(alarm);
  expect(await rabbit.admin.alarms()).toEqual([alarm]);
  const blocked = once(user.connection, "blocked");
  const unblocked = once(user.connection, "unblocked");
  const verdict = publish(user.channel, queue, Buffer.from("x"));
  await blocked;
  expect(await stateAfter(verdict, 300)).toBe("pending");
  await rabbit.admin.clearAlarm(alarm);
  await unblocked;
  await verdict;
  expect(await rabbit.admin.alarms()).toEqual([]);
});

describe("admin commands", () => {
  test("all connections are closed by the broker with a reason", async () => {
    await using user = await client(rabbit.url);
    // amqplib takes an operator's close for no error: it tells the reason with `close`.
    const closed = once(user.connection, "close");
    await rabbit.admin.closeAllConnections("maintenance");
    expect(String(await closed)).toContain("maintenance");
  });

  test("a policy applies to the queues that it names", async () => {
    await using user = await client(rabbit.url);
    const queue = await quorumQueue(user.channel);
    await rabbit.admin.setPolicy({ name: "short", pattern: `^${queue}$`, definition: { "max-length": 2 } });
    for (let index = 0; index < 5; index++) await publish(user.channel, queue, Buffer.from("x"));
    await until("the policy to bite", 10_000, async () => (await rabbit.admin.ready(queue)) === 2);
    await rabbit.admin.clearPolicy("short");
    for (let index = 0; index < 5; index++) await publish(user.channel, queue, Buffer.from("x"));
    await until("the policy to be gone", 10_000, async () => (await rabbit.admin.ready(queue)) > 2);
  });

  test("queues are listed with their type and leader", async () => {
    await using user = await client(rabbit.url);
    const queue = await quorumQueue(user.channel);
    const listed = (await rabbit.admin.queues()).find(({ name }) => name === queue);
    expect(listed).toMatchObject({ type: "quorum", leader: `rabbit@${rabbit.name}`, consumers: 0 });
  });

  test("a failing command is an error with its output", async () => {
    await expect(rabbit.admin.deleteVhost("no-such-vhost")).rejects.toThrow(/no-such-vhost|does not exist/);
  });
});

test("another process attaches by the handle and cannot end it by leaving", async () => {
  {
    await using other = await RabbitNode.attach(JSON.parse(JSON.stringify(rabbit.handle)));
    expect(other.url).toBe(rabbit.url);
    await other.pause();
    expect(await rabbit.state()).toBe("paused");
    await other.unpause();
  }
  expect(await rabbit.state()).toBe("running");
});
