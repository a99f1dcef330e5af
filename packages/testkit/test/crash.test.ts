import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { crashAt, parseCrash } from "@tallymq/testkit/crash";

const index = JSON.stringify(new URL("../src/crash/index.ts", import.meta.url).href);

/** A process that passes the point again and again, and says so. */
function run(at: string | undefined): { readonly signal: string | null; readonly said: string } {
  const program = `
    import { writeSync } from "node:fs";
    import { crashAt } from ${index};
    import { memory } from "@tallymq/testkit";
    import { openTally, topic } from "@tallymq/core";
    crashAt({ before: ({ point, n }) => writeSync(1, "died at " + point + " " + n) });
    process.on("exit", () => writeSync(1, "left"));
    const tally = await openTally({ service: "shop", broker: memory() });
    const orders = topic("orders", { groups: ["billing"] });
    for (let n = 1; n <= 3; n++) {
      await tally.publish(orders, { n });
      writeSync(1, n + " ");
    }
    await tally.close();
  `;
  const { CRASH_AT: _, ...env } = process.env;
  const { signal, stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", program], {
    cwd: import.meta.dirname,
    encoding: "utf8",
    env: at === undefined ? env : { ...env, CRASH_AT: at },
  });
  return { signal, said: stdout };
}

test("a process dies by SIGKILL at the n-th pass of its point, with its last words written", () => {
  expect(run("publisher.accepted:2")).toEqual({ signal: "SIGKILL", said: "1 died at publisher.accepted 2" });
});

test("without CRASH_AT nothing is armed, and a point that is passed less often kills nobody", () => {
  expect(run(undefined)).toEqual({ signal: null, said: "1 2 3 left" });
  expect(run("publisher.accepted:4")).toEqual({ signal: null, said: "1 2 3 left" });
});

test("a point that is not on the list is refused, with the list", () => {
  expect(() => crashAt({ at: "publisher.acepted:1" })).toThrow(/publisher\.accepted/);
  for (const text of ["publisher.sent", "publisher.sent:0", "publisher.sent:x", ":1", "toString:1"])
    expect(() => parseCrash(text), text).toThrow(RangeError);
  expect(parseCrash("publisher.sent:12")).toEqual({ point: "publisher.sent", n: 12 });
});
