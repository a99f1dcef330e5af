/** A process that starts a container and a network, prints their names, and ends as its argument says. */
import { guardPid } from "../engine/cleanup.ts";
import { createNetwork } from "../engine/network.ts";
import { uniqueName } from "../rabbitmq/node.ts";
import { smallContainer } from "./helpers.ts";

const network = await createNetwork(uniqueName("tally-net"));
const container = await smallContainer("echo ready; exec sleep 600");
console.log(JSON.stringify({ container: container.handle.id, network: network.name, guard: guardPid() }));
if (process.argv[2] === "exit") process.exit(0);
setInterval(() => {}, 60_000);
