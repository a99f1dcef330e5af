import { seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, test } from "vitest";
import { TallyError } from "../../src/error.ts";
import { createEvents, type TallyEvent } from "../../src/events.ts";
import { SessionKeeper } from "../../src/session/keeper.ts";
import { settle } from "../support/receiving.ts";

interface Session extends AsyncDisposable {
  readonly epoch: number;
  disposed: number;
}
interface Try {
  readonly epoch: number;
  readonly lost: (error: TallyError) => void;
  readonly signal: AbortSignal;
  readonly opening: PromiseWithResolvers<Session>;
}

const away = new TallyError("unreachable", "away", { retryable: true });
const cut = new TallyError("session-lost", "cut", { retryable: true });

function rig(options: { readonly onEvent?: (event: TallyEvent) => void; readonly dispose?: () => Promise<void> } = {}) {
  const clock = virtualClock();
  const events = createEvents(
    () => clock.wall(),
    (event) => {
      log.push(event.type);
      options.onEvent?.(event);
    },
  );
  const tries: Try[] = [];
  const log: string[] = [];
  const session = (epoch: number): Session => ({
    epoch,
    disposed: 0,
    [Symbol.asyncDispose]() {
      this.disposed++;
      return options.dispose?.() ?? Promise.resolve();
    },
  });
  const made: Session[] = [];
  const keeper = new SessionKeeper<Session>({
    role: "send",
    what: "rabbitmq",
    clock,
    random: seededRandom(7),
    events,
    backoff: { min: 100, max: 1_000 },
    connectWithin: 5_000,
    open(epoch, lost, signal) {
      const opening = Promise.withResolvers<Session>();
      tries.push({ epoch, lost, signal, opening });
      return opening.promise;
    },
    opened: (_session, epoch) => void log.push(`opened ${epoch}`),
    dropped: (epoch) => void log.push(`dropped ${epoch}`),
  });
  const last = (): Try => tries.at(-1)!;
  const open = async (): Promise<Session> => {
    const opening = session(last().epoch);
    made.push(opening);
    last().opening.resolve(opening);
    await settle();
    return opening;
  };
  return { clock, keeper, tries, log, made, last, open, session };
}

describe("a session keeper", () => {
  test("opens a session at once and hands it out", async () => {
    const r = rig();
    expect(r.keeper.state.is).toBe("connecting");
    await r.open();
    expect(r.keeper.state).toEqual({ is: "open", epoch: 1 });
    expect(r.log).toEqual(["session-opened", "opened 1"]);
    expect(r.clock.pending()).toBe(0); // the time limit of the try is off
  });

  test("tries again after a failure, with waits that grow, until one succeeds", async () => {
    const r = rig();
    for (let n = 1; n <= 6; n++) {
      r.last().opening.reject(away);
      await settle();
      expect(r.keeper.state.is).toBe("waiting");
      await r.clock.runUntil(() => r.tries.length === n + 1, Math.min(1_000, 100 * 2 ** n));
    }
    await r.open();
    expect(r.log).toEqual([...Array.from({ length: 6 }, () => "reconnect"), "session-opened", "opened 7"]);
  });

  test("reconnects after a loss; the lost one is disposed of, and dropped before the next is opened", async () => {
    const r = rig();
    const first = await r.open();
    r.last().lost(cut);
    expect(first.disposed).toBe(1);
    await r.clock.runUntil(() => r.tries.length === 2, 100);
    await r.open();
    expect(r.log).toEqual([
      "session-opened",
      "opened 1",
      "session-lost",
      "dropped 1",
      "reconnect",
      "session-opened",
      "opened 2",
    ]);
  });

  test("a try that takes too long is given up; what it still gives is disposed of", async () => {
    const r = rig();
    const late = r.last();
    await r.clock.advance(4_999);
    expect(late.signal.aborted).toBe(false);
    await r.clock.runUntil(() => r.tries.length === 2, 300);
    expect(late.signal.reason).toMatchObject({ code: "unreachable", retryable: true });
    const unwanted = r.session(1);
    late.opening.resolve(unwanted);
    await r.open();
    expect(unwanted.disposed).toBe(1);
    expect(r.keeper.state).toEqual({ is: "open", epoch: 2 });
  });

  test("a session lost in the tick in which it opens is never handed out", async () => {
    const r = rig();
    const { lost, opening } = r.last();
    const session = r.session(1);
    opening.resolve(session);
    lost(cut);
    await settle();
    expect(r.log).toEqual(["reconnect"]);
    expect(session.disposed).toBe(1);
  });

  test("a loss of an earlier session does not touch the one in use", async () => {
    const r = rig();
    await r.open();
    const [first] = r.tries;
    first!.lost(cut);
    await r.clock.runUntil(() => r.tries.length === 2, 100);
    await r.open();
    first!.lost(cut);
    expect(r.keeper.state).toEqual({ is: "open", epoch: 2 });
  });

  test("what open() throws that is no TallyError is unreachable, and retried", async () => {
    const r = rig();
    r.last().opening.reject(new RangeError("driver's own"));
    await r.clock.runUntil(() => r.tries.length === 2, 200);
  });

  test("replace() hands the session over, undisposed, and opens a successor at once; without an open session it does nothing", async () => {
    const r = rig();
    expect(r.keeper.replace()).toBe(null);
    const first = await r.open();
    expect(r.keeper.replace()).toBe(first);
    expect(first.disposed).toBe(0);
    expect(r.tries).toHaveLength(2);
    await r.open();
    r.tries[0]!.lost(cut); // the retired one
    expect(r.keeper.state).toEqual({ is: "open", epoch: 2 });
    await r.keeper.close();
    expect(first.disposed).toBe(0);
  });
});

describe("close()", () => {
  test("disposes of the session, once, and resolves when it is gone", async () => {
    const gone = Promise.withResolvers<void>();
    const r = rig({ dispose: () => gone.promise });
    const session = await r.open();
    let closed = false;
    void r.keeper.close().then(() => (closed = true));
    void r.keeper.close();
    await settle();
    expect([session.disposed, closed]).toEqual([1, false]);
    gone.resolve();
    await settle();
    expect(closed).toBe(true);
    r.last().lost(cut);
    await r.clock.advance(10_000);
    expect(r.tries).toHaveLength(1);
  });

  test("does not fire the signal of a try that is long over: its session flushes in peace", async () => {
    const r = rig();
    await r.open();
    await r.keeper.close();
    expect(r.tries[0]!.signal.aborted).toBe(false);
  });

  test("ends a try under way, and disposes of what it still gives", async () => {
    const r = rig();
    const closing = r.keeper.close();
    expect(r.last().signal.reason).toMatchObject({ code: "closed" });
    await closing;
    expect(r.clock.pending()).toBe(0);
    const unwanted = r.session(1);
    r.last().opening.resolve(unwanted);
    await settle();
    expect(unwanted.disposed).toBe(1);
  });

  test("ends the wait between tries", async () => {
    const r = rig();
    r.last().opening.reject(away);
    await settle();
    await r.keeper.close();
    expect(r.clock.pending()).toBe(0);
    expect(r.keeper.state.is).toBe("closed");
  });

  test.each(["session-opened", "session-lost", "reconnect"])(
    "from inside a listener of %s leaves no timer and no session",
    async (type) => {
      let close = (): void => {};
      const r = rig({ onEvent: (event) => void (event.type === type && close()) });
      close = () => void r.keeper.close();
      const session = await r.open();
      r.last().lost(cut);
      await settle();
      expect(r.keeper.state.is).toBe("closed");
      expect(session.disposed).toBe(1);
      expect(r.log.includes("reconnect")).toBe(type === "reconnect"); // nothing is announced that will not happen
      expect(r.clock.pending()).toBe(0);
      await r.clock.advance(10_000);
      expect(r.tries).toHaveLength(1);
    },
  );

  test("a session whose disposal fails, or throws, is as good as gone", async () => {
    for (const dispose of [
      () => Promise.reject(new Error("no")),
      () => {
        throw new Error("no");
      },
    ]) {
      const r = rig({ dispose });
      await r.open();
      r.last().lost(cut);
      await r.clock.runUntil(() => r.tries.length === 2, 100);
      await r.open();
      await r.keeper.close();
      expect(r.keeper.state.is).toBe("closed");
    }
  });
});
