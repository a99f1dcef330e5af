import { expect, it } from "vitest";
import type { Fleet } from "../../integration-tests/workload/fleet.ts";
import type { ComparedBroker } from "../faults/broker.ts";
import type { Job } from "../faults/job.ts";
import { killAndRestart } from "../faults/kills.ts";

/** One client that publishes, and what it is told. */
function fleet(invoked: number, told: string[] = []): Fleet<Job> {
  const status = { invoked, published: false, inFlight: 3 };
  const tell = ({ type }: { readonly type: string }): void => void told.push(type);
  return { members: [{ running: true, status, job: { client: "tally" }, tell }] } as unknown as Fleet<Job>;
}
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
  const kills = await killAndRestart(broker(restart, done), fleet(40), PLAN, () => {}, new AbortController().signal);
  expect(done).toEqual(["kill broker", "back"]);
  expect(kills).toMatchObject([{ part: "broker", inFlight: { tally: 3 } }]);
});

it("a client that has published half of what it has left waits until the broker serves again", async () => {
  const seen = async (invoked: number): Promise<readonly string[]> => {
    const told: string[] = [];
    const restart = async (): Promise<void> => {
      while (told.length === 0 && invoked >= 70) await new Promise((resolve) => setImmediate(resolve));
      told.push("back");
    };
    await killAndRestart(broker(restart, []), fleet(invoked, told), PLAN, () => {}, new AbortController().signal);
    return told;
  };
  expect(await seen(69)).toEqual(["back"]);
  expect(await seen(70)).toEqual(["hold", "back", "release"]);
});

it("a broker that does not come back fails the run", async () => {
  const gone = broker(() => Promise.reject(new Error("it does not start")), []);
  await expect(killAndRestart(gone, fleet(40), PLAN, () => {}, new AbortController().signal)).rejects.toThrow(
    "it does not start",
  );
});
