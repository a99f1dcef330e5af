import { collectGarbage, turns } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { OpenSessions } from "../../src/session/open-sessions.ts";

/** Ends when told to. */
class Session implements AsyncDisposable {
  readonly ending: PromiseWithResolvers<void> = Promise.withResolvers();
  disposed = 0;

  [Symbol.asyncDispose](): Promise<void> {
    this.disposed++;
    return this.ending.promise;
  }
}

describe("the sessions of a transport", () => {
  it("that have ended are let go of, however long the transport lives: a reconnect leaves nothing", async () => {
    const sessions = new OpenSessions<Session>();
    const ended = ((): WeakRef<Session> => {
      const session = sessions.add(new Session());
      sessions.ended(session);
      sessions.ended(session);
      return new WeakRef(session);
    })();
    const open = sessions.add(new Session());
    await turns();
    collectGarbage();
    expect(ended.deref()).toBe(undefined);
    expect([...sessions]).toEqual([open]);
  });

  it("that are open are ended when it closes, side by side, and waited for, well or badly", async () => {
    const sessions = new OpenSessions<Session>();
    const [bad, good] = [sessions.add(new Session()), sessions.add(new Session())];
    let closed = false;
    const closing = sessions[Symbol.asyncDispose]().then(() => (closed = true));
    expect([bad.disposed, good.disposed]).toEqual([1, 1]);
    bad.ending.reject(new Error("the broker is away"));
    await turns();
    expect(closed).toBe(false);
    good.ending.resolve();
    await closing;
  });

  it("that open while it closes are ended, and refused", async () => {
    const sessions = new OpenSessions<Session>();
    sessions.throwIfClosed();
    await sessions[Symbol.asyncDispose]();
    const late = new Session();
    expect(() => sessions.add(late)).toThrow(expect.objectContaining({ code: "closed" }));
    expect(late.disposed).toBe(1);
    expect([...sessions]).toEqual([]);
    // Nobody waits for it: that it ends badly is no rejection that nobody handles.
    late.ending.reject(new Error("the broker is away"));
    await turns();
    expect(() => sessions.throwIfClosed()).toThrow(expect.objectContaining({ code: "closed" }));
  });
});
