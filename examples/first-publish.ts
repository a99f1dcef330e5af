// First publish: a typed message, confirmed by the broker before the program goes on.
//
//   node examples/first-publish.ts                                    on the embedded broker
//   AMQP_URL=amqp://localhost node examples/first-publish.ts          on RabbitMQ
import { openTally, TallyError } from "@tallymq/core";
import { broker } from "./broker.ts";
import { orders } from "./orders.ts";

await using tally = await openTally({ service: "shop", broker: broker() });

const order = { id: "order-1", customer: "ada", cents: 1999 };
// The id is the order's own: publish it again after a crash, and it is still the same message.
const receipt = await tally.publish(orders, order, { id: order.id, deadline: "10s" });
console.log(`${receipt.id} is ${receipt.state}; routed: ${receipt.proof.routed}`);

try {
  await tally.publish(orders, { ...order, cents: -5 }, { id: "order-2" });
} catch (error) {
  if (!TallyError.is(error)) throw error;
  console.log(`${error.id} was rejected (${error.code}); may it still arrive? ${error.mayArrive}`);
}
