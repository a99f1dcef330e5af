import type { InboxSpec } from "@tallymq/core";
import type { TallyMutant } from "./tally-mutants.ts";

/** What goes wrong with dead letters. */
export const letterMutants: readonly TallyMutant[] = [
  {
    name: "a look takes a letter",
    caughtBy: "dead letters are listed without being taken, and replayed in order to their group alone",
    tally: (t) => ({
      deadLetters(topic, group) {
        const sound = t.deadLetters(topic, group);
        const list: typeof sound.list = async (o) => (
          await sound.list(o),
          await sound.purge({ most: 1 }),
          sound.list(o)
        );
        return { ...sound, list };
      },
    }),
  },
  {
    name: "a replay goes to all groups",
    caughtBy: "dead letters are listed without being taken, and replayed in order to their group alone",
    wrong: { outgoing: (m) => ({ ...m, group: null }) },
  },
  {
    name: "purge forgets whom",
    caughtBy: "what is purged is gone, and nothing else is",
    tally: (t) => ({
      deadLetters(topic, group) {
        const sound = t.deadLetters(topic, group);
        return { ...sound, purge: () => sound.purge() };
      },
    }),
  },
  {
    name: "what is replayed is thrown away",
    caughtBy: "a replay whose connection is cut loses nothing, and no effect comes twice",
    tally: (t) => ({
      deadLetters(topic, group) {
        const sound = t.deadLetters(topic, group);
        return { ...sound, replay: async (o) => ({ ...(await sound.purge(o)), replayed: 0, failed: 0 }) };
      },
    }),
  },
  {
    name: "nobody remembers the dead",
    caughtBy:
      "a letter is out, the connection cut before the ack, and the handler would succeed now: no effect beside the letter",
    options: (o) => ({ ...o, inbox: forgetful(o.inbox as InboxSpec<unknown>) as never }),
  },
];

/** An inbox that takes what is dead for what may be tried again. */
function forgetful(sound: InboxSpec<unknown>): InboxSpec<unknown> {
  return {
    async openInbox(host) {
      const store = await sound.openInbox(host);
      return {
        ...store,
        end: (claim, outcome) => store.end(claim, outcome.is === "dead" ? { is: "failed" } : outcome),
      };
    },
  };
}
