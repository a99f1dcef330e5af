import type { ClientName } from "../arguments.ts";
import { amqplib } from "./amqplib.ts";
import type { Client } from "./client.ts";
import { tally } from "./tally.ts";

export const CLIENT: Readonly<Record<ClientName, Client>> = { tally, amqplib };
