import { turns } from "@tallymq/testkit";
import { DEAF, ORDERS } from "@tallymq/testkit/port";
import { describe, expect, it } from "vitest";
import type { KafkaTransport } from "../src/transport.ts";
import { FakeDriver, SIGNAL } from "./fake-driver.ts";

describe("a member of a group", () => {
  const stage = (): { readonly driver: FakeDriver; readonly transport: KafkaTransport; readonly seen: string[] } => {
    const driver = new FakeDriver();
    return { driver, transport: driver.transport(), seen: [] };
  };
  const open = (transport: KafkaTransport) =>
    transport.openReceiver({ topic: ORDERS, group: "billing", credit: 10, consumer: "c" }, DEAF, SIGNAL);

  it("shows its card with its subscription, and sees those of all others who are there, not its own", async () => {
    const { driver, transport, seen } = stage();
    driver.shown = () => Promise.resolve({ settled: true, cards: ["theirs", "mine"] });
    await transport.members.join("orders", "billing", "mine", (card) => void seen.push(card), SIGNAL);
    expect(seen).toEqual(["theirs"]);
    await open(transport);
    expect(driver.members.at(-1)!.plan.card).toBe("mine");
    await transport[Symbol.asyncDispose]();
  });

  it("without a seat shows nothing, nor after it has left it", async () => {
    const { driver, transport, seen } = stage();
    await open(transport);
    const seat = await transport.members.join("orders", "billing", "mine", (card) => void seen.push(card), SIGNAL);
    await seat[Symbol.asyncDispose]();
    await open(transport);
    expect(driver.members.map(({ plan }) => plan.card)).toEqual([null, null]);
    driver.shown = () => Promise.resolve({ settled: true, cards: ["late"] });
    driver.members.at(-1)!.events.joined(new Map());
    await turns();
    expect(seen).toEqual([]);
    await transport[Symbol.asyncDispose]();
  });

  it("looks again whenever the group has rebalanced, until what the members show can be read", async () => {
    const { driver, transport, seen } = stage();
    await transport.members.join("orders", "billing", "mine", (card) => void seen.push(card), SIGNAL);
    await open(transport);
    await turns();
    let settled = false;
    driver.shown = () => Promise.resolve({ settled, cards: settled ? ["newcomer"] : [] });
    driver.members.at(-1)!.events.joined(new Map([["orders", [0]]]));
    await driver.clock.advance(250);
    expect(seen).toEqual([]);
    settled = true;
    await driver.clock.advance(100);
    expect(seen).toEqual(["newcomer"]);
    await transport[Symbol.asyncDispose]();
  });

  it("looks again after a look that failed: the one who came does not come again", async () => {
    const { driver, transport, seen } = stage();
    await transport.members.join("orders", "billing", "mine", (card) => void seen.push(card), SIGNAL);
    await open(transport);
    await turns();
    const works = (): ReturnType<FakeDriver["shown"]> => Promise.resolve({ settled: true, cards: ["newcomer"] });
    driver.shown = () => Promise.reject(new Error("refused"));
    driver.members.at(-1)!.events.joined(new Map([["orders", [0]]]));
    await driver.clock.advance(900);
    driver.shown = works;
    await driver.clock.advance(200);
    expect(seen).toEqual(["newcomer"]);
    await transport[Symbol.asyncDispose]();
  });

  it("shows as much as it likes, and no more than a thousand characters of it are handed on", async () => {
    const { driver, transport, seen } = stage();
    driver.shown = () => Promise.resolve({ settled: true, cards: ["x".repeat(50_000)] });
    await transport.members.join("orders", "billing", "mine", (card) => void seen.push(card), SIGNAL);
    expect(seen.map(({ length }) => length)).toEqual([1_000]);
    await transport[Symbol.asyncDispose]();
  });

  it("is not looked for any more once the transport is closed", async () => {
    const { driver, transport, seen } = stage();
    await transport.members.join("orders", "billing", "mine", (card) => void seen.push(card), SIGNAL);
    await open(transport);
    await turns();
    driver.shown = () => Promise.resolve({ settled: false, cards: [] });
    driver.members.at(-1)!.events.joined(new Map([["orders", [0]]]));
    await driver.clock.advance(250);
    await transport[Symbol.asyncDispose]();
    await turns();
    expect(driver.clock.pending()).toBe(0);
  });

  it("whose first look fails has no seat", async () => {
    const { driver, transport } = stage();
    driver.shown = () => Promise.reject(Object.assign(new Error("no"), { type: "GROUP_AUTHORIZATION_FAILED" }));
    const joining = transport.members.join("orders", "billing", "mine", () => {}, SIGNAL);
    await expect(joining).rejects.toMatchObject({ code: "unauthorized" });
    expect(transport.members.cardOf("orders", "billing")).toBe(null);
    await transport[Symbol.asyncDispose]();
  });
});
