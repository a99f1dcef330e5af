import { TallyError } from "@tallymq/core/spi";
import { rocketmq, type RocketOptions } from "@tallymq/rocketmq";
import { describe, expect, it } from "vitest";
import { targetOf } from "../src/driver/target.ts";
import { resolveRocket } from "../src/options.ts";

function refused(given: object): TallyError {
  try {
    rocketmq(given as RocketOptions);
  } catch (thrown) {
    expect(TallyError.is(thrown)).toBe(true);
    expect((thrown as TallyError).code).toBe("bad-config");
    return thrown as TallyError;
  }
  throw new Error("nothing was thrown");
}

const OK = { endpoints: ["localhost:8081"] };

describe("options", () => {
  it("have the defaults that the documentation names", () => {
    expect(resolveRocket(OK)).toMatchObject({
      name: "rocketmq",
      names: [],
      tls: null,
      credentials: null,
      prefix: "",
      queues: 8,
      maxBytes: 1_048_576,
      batchBytes: 1_048_576,
      batchMessages: 256,
      requests: 4,
      from: "earliest",
      invisible: 30_000,
      receiveWait: 5_000,
      connectTimeout: 5_000,
      requestTimeout: 6_000,
      heartbeat: 5_000,
      downtime: 3_600_000,
    });
  });

  it.each([
    ["a request time-out that the broker's flush may outlast", { ...OK, requestTimeout: "5s" }, /requestTimeout/],
    ["an invisible time below the broker's shortest", { ...OK, invisible: "9s" }, /invisible/],
    ["a body that the broker would not take", { ...OK, maxBytes: 4 * 1024 * 1024 }, /maxBytes/],
    ["a prefix with a percent sign", { ...OK, prefix: "a%" }, /prefix/],
    ["an unknown place to begin", { ...OK, from: "newest" }, /from/],
    ["credentials without a secret", { ...OK, credentials: { accessKey: "s3cret" } }, /both accessKey and secretKey/],
    ["a secret that is none", { ...OK, credentials: { accessKey: "a", secretKey: ["s3cret"] } }, /secretKey/],
    ["credentials as a string", { ...OK, credentials: "s3cret" }, /credentials/],
    [
      "a passphrase, which gRPC cannot use",
      { ...OK, tls: { key: "k", cert: "c", passphrase: "s3cret" } },
      /passphrase/,
    ],
  ])("refuse %s, and quote no secret", (_, given, words) => {
    const error = refused(given);
    expect(error.message).toMatch(words);
    expect(error.message).not.toContain("s3cret");
  });

  it("read IPv6, and name each kind of address to gRPC", () => {
    const { endpoints } = resolveRocket({ endpoints: ["[::1]:8081", "10.0.0.1:8081", "mq.example:443"] });
    expect(endpoints.map(targetOf)).toEqual(["ipv6:[::1]:8081", "ipv4:10.0.0.1:8081", "dns:mq.example:443"]);
    expect(endpoints[0]).toMatchObject({ host: "::1", port: 8081 });
  });
});
