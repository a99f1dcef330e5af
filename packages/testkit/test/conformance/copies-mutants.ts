import type { Outgoing } from "@tallymq/core/spi";
import type { Mutant, Wrong } from "./broken.ts";

const LATER = "a delayed copy comes when its time has come, not before, with all that it had";

function outgoing(change: (message: Outgoing) => Partial<Outgoing>): Wrong {
  return { outgoing: (message) => ({ ...message, ...change(message) }) };
}

export const copiesMutants: readonly Mutant[] = [
  {
    name: "a copy for one group goes to all",
    caughtBy: "a copy for one group reaches that group alone",
    wrong: outgoing(() => ({ group: null })),
  },
  {
    name: "a copy for a group that is not there goes to the others",
    caughtBy: "a copy for a group that is not there is unroutable",
    wrong: outgoing(({ group }) => ({ group: group === "b" ? "a" : group })),
  },
  {
    name: "a copy for one group is a first publication again",
    caughtBy: "a copy for one group arrives as the message it is a copy of",
    wrong: outgoing(({ group, attempt }) => ({ attempt: group === null ? attempt : 1 })),
  },
  { name: "delays are ignored", caughtBy: LATER, wrong: outgoing(() => ({ delayMs: 0 })) },
  { name: "delays are cut short", caughtBy: LATER, wrong: outgoing(({ delayMs }) => ({ delayMs: delayMs / 10 })) },
  {
    name: "a delayed copy goes to all groups",
    caughtBy: LATER,
    wrong: outgoing(({ group, delayMs }) => ({ group: delayMs > 0 ? null : group })),
  },
  {
    name: "a delayed copy is the service's own",
    caughtBy: LATER,
    wrong: outgoing(({ producer, delayMs }) => ({ producer: delayMs > 0 ? "conformance" : producer })),
  },
  {
    name: "all delays are as long as the longest",
    caughtBy: "a short delay does not wait behind a longer one that was sent before it",
    wrong: outgoing(({ delayMs }) => ({ delayMs: delayMs === 0 ? 0 : 300 })),
  },
  {
    name: "a delayed message goes to one group",
    caughtBy: "a delayed message for all groups reaches each of them, once",
    wrong: outgoing(({ delayMs }) => ({ group: delayMs > 0 ? "a" : null })),
  },
  {
    name: "what is delayed is forgotten with the broker",
    caughtBy: "what is delayed outlives the broker",
    wrong: {
      sender: (sound) => ({
        send: (lane, batch, report) =>
          sound.send(
            lane,
            batch.map((m) => ({ ...m, group: m.delayMs > 0 ? "nobody" : m.group })),
            (index) =>
              report(index, {
                kind: "accepted",
                proof: { routed: "yes", persisted: "yes", replicated: "no" },
              }),
          ),
      }),
    },
  },
];
