import { describe, expect, it } from "vitest";
import { ORDERS, Sending, signal, Stage } from "./stage.ts";

describe("opening", () => {
  it("a try that its only caller gave up does not fail the next caller", async () => {
    let mute = true;
    await using stage = await Stage.open({
      onSocket(connection) {
        if (mute) connection.mute();
        mute = false;
      },
    });
    const gone = new AbortController();
    const given = stage.transport.openSender(new Sending(), gone.signal);
    // At once, before the abandoned try has come to its end.
    const next = given.catch(() => stage.transport.openSender(new Sending(), signal()));
    await stage.server.waitFor((s) => s.connections.length === 1);
    gone.abort(new Error("enough"));
    await next;
    expect(stage.server.connections).toHaveLength(2);
  });

  it("two sessions that open at once share one connection", async () => {
    await using stage = await Stage.open({});
    await Promise.all([
      stage.transport.openSender(new Sending(), signal()),
      stage.transport.openSender(new Sending(), signal()),
    ]);
    expect(stage.server.connections).toHaveLength(1);
  });

  it("wrong credentials are unauthorized, and trying again cannot help", async () => {
    await using stage = await Stage.open({
      onMethod(method, connection) {
        if (method.name !== "connection.start-ok") return;
        connection.close(403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.");
        return "handled";
      },
    });
    await expect(stage.transport.openSender(new Sending(), signal())).rejects.toMatchObject({
      code: "unauthorized",
      retryable: false,
    });
  });

  it("a virtual host that is refused is unauthorized; the driver does not say why, so it may pass", async () => {
    await using stage = await Stage.open({
      onOpen(connection) {
        connection.close(530, "NOT_ALLOWED - vhost / not found", "connection.open");
        return "handled";
      },
    });
    await expect(stage.transport.openSender(new Sending(), signal())).rejects.toMatchObject({
      code: "unauthorized",
      retryable: true,
    });
  });

  for (const where of ["onSocket", "onOpen"] as const) {
    it(`a server that falls silent at ${where} is left when the signal fires, without a socket behind`, async () => {
      await using stage = await Stage.open({ [where]: (connection: { mute(): void }) => connection.mute() });
      const reason = new Error("enough");
      const gone = new AbortController();
      const opening = stage.transport.openSender(new Sending(), gone.signal);
      await stage.server.waitFor((s) => s.connections.length > 0);
      gone.abort(reason);
      await expect(opening).rejects.toBe(reason);
      await stage.server.waitFor((s) => s.connections[0]!.state === "closed", { what: "the socket's end" });
    });
  }

  it("a connection lost after any byte of the handshake is one typed error", async () => {
    for (let bytes = 1; bytes < 600; bytes += 7) {
      await using stage = await Stage.open({ onSocket: (connection) => connection.dropAfterSending(bytes) });
      const error = await stage.transport.admin.declare([ORDERS], signal()).then(
        () => null,
        (e: unknown) => e,
      );
      if (error !== null) expect(error, `after ${bytes} bytes`).toMatchObject({ name: "TallyError", retryable: true });
    }
  }, 30_000);

  it("a transport that is disposed of opens nothing more and leaves no connection", async () => {
    const stage = await Stage.open({});
    await stage.sender();
    await stage.receiver();
    await stage.transport[Symbol.asyncDispose]();
    await stage.server.waitFor((s) => s.connections.every((c) => c.state === "closed"));
    await expect(stage.transport.openSender(new Sending(), signal())).rejects.toMatchObject({ code: "closed" });
    await stage[Symbol.asyncDispose]();
  });
});
