// The proxy's process: its port first, then an answer for each `refuse` and `heal`. Ends with its parent.
import { startProxy } from "../../integration-tests/brokers/index.ts";

const proxy = await startProxy(Number(process.argv[2]));
process.on("message", (what: "refuse" | "heal") => {
  const done = what === "heal" ? proxy.heal() : proxy.refuse().then(() => proxy.cut());
  void done.then(() => process.send?.(proxy.port));
});
process.on("disconnect", () => process.exit());
process.send?.(proxy.port);
