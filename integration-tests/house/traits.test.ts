// docs/architecture.md shows what brokers do differently: the traits of each adapter, as they are without options.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Broker, Traits } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { rabbitmq } from "@tallymq/rabbitmq";
import { rocketmq } from "@tallymq/rocketmq";
import { memory, realClock, realRandom } from "@tallymq/testkit";
import { expect, it } from "vitest";

const BROKERS: readonly Broker[] = [
  rabbitmq({ urls: ["amqp://localhost"] }),
  kafka({ brokers: ["localhost:9092"] }),
  rocketmq({ endpoints: ["localhost:8081"] }),
  memory(),
];
const MIB = 1024 * 1024;
const DAY = 86_400_000;

it("the table of traits in docs/architecture.md is that of the adapters", async () => {
  const all: Traits[] = [];
  for (const broker of BROKERS) {
    // Opened, and nothing connected: that is what sessions do.
    const host = { service: "house", run: "0".repeat(32), clock: realClock, random: realRandom };
    await using transport = broker.open(host);
    all.push(transport.traits);
  }
  const rows = (Object.keys(all[0]!) as (keyof Traits)[]).map(
    (name) => `| \`${name}\` | ${all.map((traits) => shown(name, traits[name])).join(" | ")} |`,
  );
  const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "architecture.md"), "utf8");
  const section = page.split("\n## ").find((one) => one.startsWith("What brokers do differently\n")) ?? "";
  const table = section.split("\n").filter((line) => line.startsWith("| `"));
  expect(table.map((line) => line.replace(/ [^|]* \|$/, ""))).toEqual(rows);
});

function shown(name: keyof Traits, value: Traits[keyof Traits]): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string" || value === 0) return String(value);
  if (name === "longestDelay") return `${Math.round((value / DAY) * 100) / 100} days`;
  return name === "maxBytes" || name === "aheadBytes" ? `${value / MIB} MiB` : String(value);
}
