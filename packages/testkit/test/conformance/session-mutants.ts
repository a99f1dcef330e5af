import { type SenderEvents, TallyError, type Verdict } from "@tallymq/core/spi";
import type { Mutant } from "./broken.ts";

const LOST = "a lost sender reports lost once, then each open copy as doubt or unsent, in the same turn";
const BLOCKED = "a blocked sender says so, and its copies are accepted once it is unblocked";
const SIGNAL = "opening obeys its signal";
const AWAY = "while the broker is away, opening fails with a typed error and can be repeated";
const CUT = "through a cut under load nothing that was accepted is missing";
const TWICE = "disposing twice is harmless";

const accepted: Verdict = { kind: "accepted", proof: { routed: "yes", persisted: "yes", replicated: "yes" } };

export const sessionMutants: readonly Mutant[] = [
  {
    name: "a successor ends the session before it",
    caughtBy: "two senders of one transport live side by side",
    wrong: {
      transport(sound) {
        let last: AsyncDisposable | null = null;
        return {
          async openSender(events, signal) {
            const before = last;
            const sender = await sound.openSender(events, signal);
            void before?.[Symbol.asyncDispose]();
            return (last = sender);
          },
        };
      },
    },
  },
  {
    name: "a second dispose of a sender throws",
    caughtBy: TWICE,
    wrong: {
      sender(sound) {
        let times = 0;
        return {
          [Symbol.asyncDispose]: async () =>
            times++ > 0 ? Promise.reject(new Error("already closed")) : await sound[Symbol.asyncDispose](),
        };
      },
    },
  },
  {
    name: "a second dispose of a receiver never ends",
    caughtBy: TWICE,
    wrong: {
      receiver(sound) {
        let times = 0;
        return {
          [Symbol.asyncDispose]: async () =>
            times++ > 0 ? await new Promise(() => {}) : await sound[Symbol.asyncDispose](),
        };
      },
    },
  },
  {
    name: "a disposed transport connects again",
    caughtBy: "a disposed transport opens nothing",
    wrong: {
      transport(sound, _, again) {
        let inner = sound;
        return {
          openSender: (events, signal) => inner.openSender(events, signal),
          [Symbol.asyncDispose]: async () => (await inner[Symbol.asyncDispose](), void (inner = again())),
        };
      },
    },
  },
  {
    name: "a sender opens in spite of its signal",
    caughtBy: SIGNAL,
    wrong: {
      transport: (sound) => ({ openSender: (events) => sound.openSender(events, new AbortController().signal) }),
    },
  },
  {
    name: "a receiver opens in spite of its signal",
    caughtBy: SIGNAL,
    wrong: {
      transport: (sound) => ({
        openReceiver: (asked, events) => sound.openReceiver(asked, events, new AbortController().signal),
      }),
    },
  },
  {
    name: "opening rejects with the driver's own error",
    caughtBy: AWAY,
    wrong: {
      transport: (sound) => ({
        openSender: (events, signal) =>
          sound.openSender(events, signal).catch(() => Promise.reject(new Error("ECONNREFUSED"))),
      }),
    },
  },
  {
    name: "opening waits for the broker to come back",
    caughtBy: AWAY,
    wrong: {
      transport: (sound) => ({
        openReceiver: (asked, events, signal) =>
          sound.openReceiver(asked, events, signal).catch(() => new Promise<never>(() => {})),
      }),
    },
  },
  {
    name: "an absent broker is reported as final",
    caughtBy: AWAY,
    wrong: {
      admin: (sound) => ({
        declare: (topics, signal) =>
          sound
            .declare(topics, signal)
            .catch(() => Promise.reject(new TallyError("unreachable", "no", { retryable: false }))),
      }),
    },
  },
  {
    name: "lost comes twice",
    caughtBy: LOST,
    wrong: { senderEvents: (sound) => ({ lost: (error) => (sound.lost(error), sound.lost(error)) }) },
  },
  {
    name: "lost never comes",
    caughtBy: "what a lost sender is given comes back unsent",
    wrong: { senderEvents: () => ({ lost: () => {} }) },
  },
  {
    name: "lost comes after the doubts",
    caughtBy: LOST,
    wrong: {
      senderEvents: (sound): Partial<SenderEvents> => ({
        lost: (error) => queueMicrotask(() => queueMicrotask(() => sound.lost(error))),
      }),
    },
  },
  {
    name: "doubts come a turn later",
    caughtBy: LOST,
    wrong: {
      verdict: (index, verdict, report) =>
        void (verdict.kind === "doubt" || verdict.kind === "unsent"
          ? // Not by a timer: on a busy machine that may come before the turn is over.
            setImmediate(() => setImmediate(report, index, verdict))
          : report(index, verdict)),
    },
  },
  {
    name: "doubt counts as refused",
    caughtBy: LOST,
    wrong: {
      verdict: (index, verdict, report) =>
        report(
          index,
          verdict.kind === "doubt" || verdict.kind === "unsent"
            ? { kind: "refused", error: new TallyError("refused", "channel closed") }
            : verdict,
        ),
    },
  },
  {
    name: "what a lost sender is given is not answered",
    caughtBy: "what a lost sender is given comes back unsent",
    wrong: { verdict: (index, verdict, report) => void (verdict.kind === "unsent" || report(index, verdict)) },
  },
  {
    name: "doubt counts as accepted",
    caughtBy: CUT,
    wrong: {
      verdict: (index, verdict, report) =>
        report(index, verdict.kind === "doubt" || verdict.kind === "unsent" ? accepted : verdict),
    },
  },
  {
    name: "verdicts are given before the broker has the copy",
    caughtBy: "what was accepted before a kill -9 is there after the restart",
    wrong: {
      sender: (sound) => ({
        send(lane, batch, report) {
          for (const index of batch.keys()) report(index, accepted);
          sound.send(lane, batch, () => {});
        },
      }),
    },
  },
  { name: "blocked is not said", caughtBy: BLOCKED, wrong: { senderEvents: () => ({ blocked: () => {} }) } },
  { name: "unblocked is not said", caughtBy: BLOCKED, wrong: { senderEvents: () => ({ unblocked: () => {} }) } },
  {
    name: "while blocked everything is said to be accepted",
    caughtBy: BLOCKED,
    wrong: {
      sender: (sound) => ({
        send(lane, batch, report) {
          const done = new Set<number>();
          const once = (index: number, verdict: Verdict): void =>
            void (done.has(index) || (done.add(index), report(index, verdict)));
          sound.send(lane, batch, once);
          setTimeout(() => batch.forEach((_, index) => once(index, accepted)), 5);
        },
      }),
    },
  },
];
