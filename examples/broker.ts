import type { Broker } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { memory } from "@tallymq/testkit";

/** RabbitMQ where `AMQP_URL` names one, else the embedded broker. The examples themselves do not know which. */
export const broker = (): Broker => {
  const url = process.env["AMQP_URL"];
  return url === undefined ? memory() : rabbitmq({ urls: [url] });
};
