import type { TallyError } from "@tallymq/core/spi";
import { describe, expect, it } from "vitest";
import { SendFailure } from "../src/driver/driver.ts";
import { classify, rejection } from "../src/errors.ts";

/** As kafkajs wraps what a broker has said. */
const ofBroker = (type: string): Error =>
  new Error("retried", { cause: Object.assign(new Error(`the broker says ${type}`), { type }) });
const shown = ({ code, retryable, mayArrive }: TallyError) => [code, retryable, mayArrive];

describe("what a broker or the network says, while a session opens", () => {
  it.each([
    ["TOPIC_AUTHORIZATION_FAILED", "unauthorized", false],
    ["GROUP_AUTHORIZATION_FAILED", "unauthorized", false],
    ["CLUSTER_AUTHORIZATION_FAILED", "unauthorized", false],
    ["SASL_AUTHENTICATION_FAILED", "unauthorized", false],
    ["UNSUPPORTED_SASL_MECHANISM", "unauthorized", false],
    ["INVALID_TOPIC_EXCEPTION", "topology", false],
    ["POLICY_VIOLATION", "topology", false],
    ["INVALID_REPLICATION_FACTOR", "topology", true],
    ["INCONSISTENT_GROUP_PROTOCOL", "topology", true],
    ["INVALID_SESSION_TIMEOUT", "bad-config", false],
    ["COORDINATOR_LOAD_IN_PROGRESS", "unreachable", true],
  ] as const)("%s is %s, and mended by waiting: %s", (type, code, retryable) => {
    expect(shown(classify(ofBroker(type), "orders", "opening"))).toEqual([code, retryable, false]);
  });

  it("a wrong password will not be right at the next try, nor will a certificate that does not fit", () => {
    const password = Object.assign(new Error("no"), { name: "KafkaJSSASLAuthenticationError" });
    expect(classify(new Error("connect", { cause: password }), "k", "opening")).toMatchObject({
      code: "unauthorized",
      retryable: false,
    });
    for (const code of ["CERT_HAS_EXPIRED", "ERR_TLS_CERT_ALTNAME_INVALID", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"])
      expect(classify(Object.assign(new Error("no"), { code }), "k", "opening")).toMatchObject({
        code: "unauthorized",
        retryable: false,
      });
    const tls = new Error("Failed to connect: error:05800074:x509 certificate routines::key values mismatch");
    expect(classify(tls, "k", "opening")).toMatchObject({ code: "bad-config", retryable: false });
  });

  it("a connection that breaks is a broker that cannot be reached, and a lost session once it is open", () => {
    const cut = Object.assign(new Error("reset"), { code: "ECONNRESET" });
    expect(classify(cut, "k", "opening")).toMatchObject({ code: "unreachable", retryable: true });
    expect(classify(cut, "k", "open")).toMatchObject({ code: "session-lost", retryable: true });
  });
});

describe("a rejected send", () => {
  const of = (attempts: number, type: string) => rejection(new SendFailure(attempts, ofBroker(type)), "orders");
  it.each([
    ["MESSAGE_TOO_LARGE", "too-large"],
    ["RECORD_LIST_TOO_LARGE", "too-large"],
    ["TOPIC_AUTHORIZATION_FAILED", "refused"],
    ["CLUSTER_AUTHORIZATION_FAILED", "refused"],
    ["INVALID_RECORD", "refused"],
    ["INVALID_TIMESTAMP", "refused"],
    ["NOT_ENOUGH_REPLICAS", "doubt"],
    ["NOT_ENOUGH_REPLICAS_AFTER_APPEND", "doubt"],
  ] as const)("with %s at the one attempt there was is %s, and in doubt after another", (type, kind) => {
    expect([of(1, type).kind, of(2, type).kind]).toEqual([kind, "doubt"]);
  });
});
