import { afterAll, beforeAll, describe, it } from "vitest";
import { KafkaJs } from "../../packages/kafka/src/driver/kafkajs.ts";
import { type KafkaNode, startKafka } from "../brokers/index.ts";
import { type DriverRig, LIMITS } from "./driver/case.ts";
import { receivingCases } from "./driver/receiving.ts";
import { sendingCases } from "./driver/sending.ts";

let node: KafkaNode;
let rig: DriverRig;
beforeAll(async () => {
  node = await startKafka();
  rig = {
    node,
    driver: (broker, fetchWait = 50) =>
      new KafkaJs({
        brokers: [broker],
        clientId: "driver-cases",
        tls: null,
        sasl: null,
        connectTimeout: 3_000,
        requestTimeout: 10_000,
        compression: "none",
        maxInflatedBytes: LIMITS.inflated,
        wall: () => Date.now(),
        consumer: {
          sessionTimeout: LIMITS.session,
          heartbeat: 200,
          rebalanceTimeout: 10_000,
          fetchWait,
        },
      }),
  };
});
afterAll(() => node.stop());

describe("kafkajs, as a driver:", () => {
  for (const { name, run } of [...sendingCases, ...receivingCases]) it(name, () => run(rig));
});
