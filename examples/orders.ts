import { topic, type Topic } from "@tallymq/core";
import { z } from "zod";

const Order = z.object({ id: z.string(), customer: z.string(), cents: z.number().int().positive() });
export type Order = z.infer<typeof Order>;

/**
 * The topic, described once and shared by publishers and consumers: both ends validate by the same schema and declare the
 * same queues. `groups` says who must have a copy; without a group the broker would have nowhere to put a message, and
 * `publish()` would be told so.
 */
export const orders: Topic<Order> = topic("orders", {
  schema: Order,
  key: (order) => order.customer,
  ordered: true,
  groups: ["billing"],
});
