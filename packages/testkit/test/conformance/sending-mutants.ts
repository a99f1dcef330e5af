import { type Outgoing, TallyError, type Verdict } from "@tallymq/core/spi";
import type { Mutant, Wrong } from "./broken.ts";

const ACCEPTED: Verdict = { kind: "accepted", proof: { routed: "yes", persisted: "yes", replicated: "unverified" } };

/** Every verdict of this kind becomes another. */
function instead(kind: Verdict["kind"], other: (verdict: Verdict) => Verdict): Wrong {
  return { verdict: (index, verdict, report) => report(index, verdict.kind === kind ? other(verdict) : verdict) };
}

function everyNth(n: number): () => boolean {
  let count = 0;
  return () => ++count % n === 0;
}

/** Chosen messages never leave, and are said to be accepted. */
function pretends(chosen: (message: Outgoing) => boolean): Wrong {
  return {
    sender: (sound) => ({
      send(lane, batch, report) {
        const kept = [...batch.keys()].filter((index) => !chosen(batch[index]!));
        for (const index of batch.keys()) if (!kept.includes(index)) queueMicrotask(() => report(index, ACCEPTED));
        sound.send(
          lane,
          kept.map((index) => batch[index]!),
          (at, verdict) => report(kept[at]!, verdict),
        );
      },
    }),
  };
}

const ONE = "each index of each batch gets exactly one verdict";
const ROUTED = "what is accepted is routed and delivered";
const LARGE = "a copy over maxBytes is refused alone, one of maxBytes is not";
const LATER = "what the broker does not store now comes back as later, and may be sent again";
const DISPOSED = "a sender that is disposed of reports its open copies, and no loss";
const GONE = "what a disposed sender is given comes back unsent";

export const sendingMutants: readonly Mutant[] = [
  {
    name: "verdicts come twice",
    caughtBy: ONE,
    wrong: {
      verdict: (index, verdict, report) => {
        report(index, verdict);
        if (index === 3) report(index, verdict);
      },
    },
  },
  {
    name: "a verdict is dropped",
    caughtBy: ONE,
    wrong: { verdict: (index, verdict, report) => index !== 100 && report(index, verdict) },
  },
  {
    name: "a verdict goes to the neighbour",
    caughtBy: ONE,
    wrong: { verdict: (index, verdict, report) => report(index === 5 ? 6 : index, verdict) },
  },
  {
    name: "a verdict goes to an index that is not there",
    caughtBy: ONE,
    wrong: { verdict: (index, verdict, report) => report(index === 0 ? 64 : index, verdict) },
  },
  {
    name: "a second verdict comes later",
    caughtBy: ONE,
    wrong: {
      verdict: (index, verdict, report) => (
        report(index, verdict),
        void (index === 9 && setTimeout(report, 5, index, verdict))
      ),
    },
  },
  { name: "some messages are accepted and never sent", caughtBy: ROUTED, wrong: pretends(everyNth(7)) },
  {
    name: "what is accepted was not routed",
    caughtBy: ROUTED,
    wrong: instead("accepted", () => ({ kind: "accepted", proof: { ...ACCEPTED.proof, routed: "no" } })),
  },
  { name: "a proof is missing", caughtBy: ROUTED, wrong: instead("accepted", () => ({ kind: "accepted" }) as Verdict) },
  {
    name: "each message is sent twice",
    caughtBy: ROUTED,
    wrong: {
      sender: (sound) => ({
        send: (lane, batch, report) => (sound.send(lane, batch, () => {}), sound.send(lane, batch, report)),
      }),
    },
  },
  {
    name: "what is sent from within a verdict is forgotten",
    caughtBy: "a copy may be sent from within a verdict",
    wrong: (() => {
      let inside = false;
      return {
        sender: (sound) => ({ send: (lane, batch, report) => void (inside || sound.send(lane, batch, report)) }),
        verdict(index, verdict, report) {
          inside = true;
          report(index, verdict);
          inside = false;
        },
      } satisfies Wrong;
    })(),
  },
  {
    name: "unroutable counts as accepted",
    caughtBy: "unroutable is a verdict of that copy alone",
    wrong: instead("unroutable", () => ACCEPTED),
  },
  {
    name: "unroutable counts as refused",
    caughtBy: "unroutable is a verdict of that copy alone",
    wrong: instead("unroutable", (v) => ({ ...v, kind: "refused" }) as Verdict),
  },
  { name: "what is too large is accepted", caughtBy: LARGE, wrong: instead("refused", () => ACCEPTED) },
  {
    name: "what is too large takes its siblings along",
    caughtBy: LARGE,
    wrong: {
      verdict(index, verdict, report, batch) {
        const error = new TallyError("too-large", "one of the batch is");
        report(index, batch.length === 3 ? { kind: "refused", error } : verdict);
      },
    },
  },
  {
    name: "the limit is one byte too low",
    caughtBy: LARGE,
    wrong: {
      transport: (sound) => ({ traits: { ...sound.traits, maxBytes: sound.traits.maxBytes - 1 } }),
    },
  },
  { name: "a nack counts as an ack", caughtBy: LATER, wrong: instead("later", () => ACCEPTED) },
  {
    name: "a nack counts as a refusal",
    caughtBy: LATER,
    wrong: instead("later", (v) => ({ kind: "refused", error: (v as { error: TallyError }).error })),
  },
  {
    name: "dispose forgets the open copies",
    caughtBy: DISPOSED,
    wrong: {
      sender(sound) {
        let gone = false;
        return {
          send: (lane, batch, report) => sound.send(lane, batch, (index, verdict) => gone || report(index, verdict)),
          [Symbol.asyncDispose]: () => ((gone = true), sound[Symbol.asyncDispose]()),
        };
      },
    },
  },
  {
    name: "dispose is reported as a loss",
    caughtBy: DISPOSED,
    wrong: {
      sender: (sound, events) => ({
        [Symbol.asyncDispose]: () => (
          events.lost(new TallyError("session-lost", "gone")),
          sound[Symbol.asyncDispose]()
        ),
      }),
    },
  },
  {
    name: "what left is said to have never left",
    caughtBy: DISPOSED,
    wrong: {
      sender(sound) {
        const open = new Set<() => void>();
        return {
          send(lane, batch, report) {
            const done = new Set<number>();
            open.add(() =>
              batch.forEach(
                (_, index) =>
                  done.has(index) ||
                  (done.add(index), report(index, { kind: "unsent", error: new TallyError("unsent", "gone") })),
              ),
            );
            sound.send(lane, batch, (index, verdict) => done.has(index) || (done.add(index), report(index, verdict)));
          },
          // The sound one answers in its own time: by then these have been told otherwise.
          [Symbol.asyncDispose]: async () => (
            open.forEach((end) => end()),
            await new Promise((resolve) => setTimeout(resolve, 20)),
            await sound[Symbol.asyncDispose]()
          ),
        };
      },
    },
  },
  {
    name: "after dispose nothing is answered",
    caughtBy: GONE,
    wrong: {
      sender(sound) {
        let gone = false;
        return {
          send: (lane, batch, report) => void (gone || sound.send(lane, batch, report)),
          [Symbol.asyncDispose]: () => ((gone = true), sound[Symbol.asyncDispose]()),
        };
      },
    },
  },
  {
    name: "after dispose send throws",
    caughtBy: GONE,
    wrong: {
      sender(sound) {
        let gone = false;
        return {
          send(lane, batch, report) {
            if (gone) throw new Error("closed");
            sound.send(lane, batch, report);
          },
          [Symbol.asyncDispose]: () => ((gone = true), sound[Symbol.asyncDispose]()),
        };
      },
    },
  },
];
