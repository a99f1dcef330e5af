import type { MembersPort } from "@tallymq/core/spi";
import type { Mutant } from "./broken.ts";

const SEEN = "members of a group see each other's cards, whoever came first; nobody else does";
const LEFT = "a member that has left is not seen, and does not see";

function members(wrong: (sound: MembersPort) => MembersPort["join"]): Mutant["wrong"] {
  return { transport: ({ members: sound }) => ({ members: sound === null ? null : { join: wrong(sound) } }) };
}

export const membersMutants: readonly Mutant[] = [
  {
    name: "all groups of a topic are one",
    caughtBy: SEEN,
    wrong: members((sound) => (topic, _group, card, seen, signal) => sound.join(topic, "g", card, seen, signal)),
  },
  {
    name: "groups of a name are one, whatever their topic",
    caughtBy: SEEN,
    wrong: members((sound) => (_topic, group, card, seen, signal) => sound.join("t", group, card, seen, signal)),
  },
  {
    name: "a member is shown to itself",
    caughtBy: SEEN,
    wrong: members((sound) => (topic, group, card, seen, signal) => {
      seen(card);
      return sound.join(topic, group, card, seen, signal);
    }),
  },
  {
    name: "nobody is shown to anybody",
    caughtBy: SEEN,
    wrong: members((sound) => (topic, group, card, _seen, signal) => sound.join(topic, group, card, () => {}, signal)),
  },
  {
    name: "a seat is kept when it is left",
    caughtBy: LEFT,
    wrong: members((sound) => async (topic, group, card, seen, signal) => {
      await sound.join(topic, group, card, seen, signal);
      return { async [Symbol.asyncDispose]() {} };
    }),
  },
];
