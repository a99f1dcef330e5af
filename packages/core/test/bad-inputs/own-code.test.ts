// What codecs and schemas of the user's own do beside what they should, at publish().
import { describe, expect, it } from "vitest";
import { TallyError, topic } from "../../src/index.ts";
import { CANARY, refused } from "../support/refused.ts";

describe("a codec that gives no bytes, or throws: rejected, by the id of its message", () => {
  it.each([
    ["a promise", async () => new Uint8Array(1), "object"],
    ["a text", () => CANARY, "string"],
    ["an ArrayBuffer", () => new ArrayBuffer(1), "object"],
    ["nothing", () => undefined, "undefined"],
  ])("a codec of one's own that gives %s", async (_what, encode, gave) => {
    const own = topic("own", { codec: { contentType: "text/plain", encode, decode: String } as never });
    const error = await refused({}, { id: "o-1" }, own);
    expect(error).toMatchObject({ code: "bad-message", id: "o-1", mayArrive: false });
    expect(error.message).toBe(
      `[bad-message] the codec of topic own must give a Uint8Array, and at once; for o-1 it gave ${gave}`,
    );
  });

  it.each([
    ["an Error", new Error("no such field"), "no such field"],
    ["nothing", undefined, "undefined"],
    ["a TallyError without the id", new TallyError("bad-message", "no such field"), "no such field"],
  ])(
    "a codec of one's own that throws %s: the error names topic or reason, and the id",
    async (_what, thrown, says) => {
      const encode = (): never => {
        throw thrown;
      };
      const own = topic("own", { codec: { contentType: "text/plain", encode, decode: String } });
      const error = await refused({}, { id: "o-1" }, own);
      expect(error).toMatchObject({ code: "bad-message", id: "o-1", mayArrive: false });
      expect(error.message).toContain(TallyError.is(thrown) ? says : `the codec of topic own threw for o-1: ${says}`);
      expect(error.cause).toBe(thrown);
    },
  );
});

describe("a schema that fails itself: the error says so, and of which topic and message", () => {
  const boom = (): never => {
    throw new Error("boom");
  };
  it.each<[string, () => unknown, string]>([
    ["it throws", boom, "boom"],
    ["it rejects", async () => boom(), "boom"],
    ["it gives nothing", () => undefined, "it gave no result"],
    ["it comes to nothing", async () => null, "it gave no result"],
  ])("%s", async (_what, check, why) => {
    const own = topic("own", { schema: { "~standard": { version: 1, vendor: "own", validate: check as never } } });
    const error = await refused({}, { id: "o-1" }, own);
    expect(error).toMatchObject({ code: "bad-message", id: "o-1", mayArrive: false });
    expect(error.message).toBe(`[bad-message] the schema of topic own itself failed for o-1: ${why}`);
  });
});
