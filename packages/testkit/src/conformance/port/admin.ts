import type { ConformanceCase } from "../case.ts";
import { ids } from "../messages.ts";
import { portCase } from "../stage.ts";

export const adminCases: readonly ConformanceCase[] = [
  portCase("declare may be repeated, in this session and in another, and loses nothing", [], async (s) => {
    const topic = await s.topic("declared");
    const messages = s.main.messages.many(topic, 5);
    await (await s.main.sender()).accepted(messages);
    await s.main.declare(topic);
    await s.main.declare(topic, s.plan("declared-beside"), topic);
    await s.peer().declare(topic);
    await s.main.backlogIs(5, topic);
    const receiver = await s.main.receiver(topic, { auto: true });
    await receiver.has(ids(messages));
  }),

  portCase("a group that is declared later gets what is sent from then on", [], async (s) => {
    const topic = await s.topic("widened", { groups: ["a"] });
    const wider = { ...topic, groups: ["a", "b"] };
    await s.main.declare(wider);
    const messages = s.main.messages.many(wider, 5);
    await (await s.main.sender()).accepted(messages);
    for (const group of ["a", "b"]) await (await s.main.receiver(wider, { group, auto: true })).has(ids(messages));
  }),

  portCase("the backlog counts what waits and what is out", [], async (s) => {
    const topic = await s.topic("backlog");
    await s.main.backlogIs(0, topic);
    await (await s.main.sender()).accepted(s.main.messages.many(topic, 10));
    await s.main.backlogIs(10, topic);
    const receiver = await s.main.receiver(topic, { credit: 4 });
    const out = await receiver.first(4);
    await s.quiet();
    await s.main.backlogIs(10, topic);
    receiver.ack(...out.slice(0, 3));
    await s.main.backlogIs(7, topic);
  }),
];
