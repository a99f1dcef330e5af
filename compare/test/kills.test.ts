import { expect, it } from "vitest";
import type { Fleet } from "../../integration-tests/workload/fleet.ts";
import type { ComparedBroker } from "../faults/broker.ts";
import type { Job } from "../faults/job.ts";
import { killAndRestart } from "../faults/kills.ts";

const FLEET = {
  members: [{ running: true, status: { invoked: 40, published: false, inFlight: 3 }, job: { client: "tally" } }],
} as unknown as Fleet<Job>;
const PLAN = { messages: 100, kills: 1 };

function broker(restart: () => Promise<void>, done: string[]): ComparedBroker {
  const killing = { parts: ["broker", "proxy"], kill: async (part: string) => void done.push(`kill ${part}`), restart };
  return killing as unknown as ComparedBroker;
}

it("a kill is over when the broker serves again, and names what was in flight", async () => {
  const done: string[] = [];
  const restart = async (): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    done.push("back");
  };
  const kills = await killAndRestart(broker(restart, done), FLEET, PLAN, () => {}, new AbortController().signal);
  expect(done).toEqual(["kill broker", "back"]);
  expect(kills).toMatchObject([{ part: "broker", inFlight: { tally: 3 } }]);
});

it("a broker that does not come back fails the run", async () => {
  const gone = broker(() => Promise.reject(new Error("it does not start")), []);
  await expect(killAndRestart(gone, FLEET, PLAN, () => {}, new AbortController().signal)).rejects.toThrow(
    "it does not start",
  );
});
