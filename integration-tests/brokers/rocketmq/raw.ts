import { credentials, Metadata } from "@grpc/grpc-js";
import util from "rocketmq-client-nodejs/dist/util/index.js";
import definition from "rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb.js";
import grpc from "rocketmq-client-nodejs/proto/apache/rocketmq/v2/service_grpc_pb.js";
import service from "rocketmq-client-nodejs/proto/apache/rocketmq/v2/service_pb.js";
import type { Secure } from "./secure.ts";

const OK = 20_000;

/** Sends one message as a program that has never heard of Tally would do it: a body, and what the protocol cannot do without. */
export async function sendRaw(
  endpoint: string,
  topic: string,
  body: Uint8Array,
  deadlineMs = 5_000,
  secure: Secure | null = null,
): Promise<void> {
  const channel = secure === null ? credentials.createInsecure() : credentials.createSsl(Buffer.from(secure.ca));
  const client = new grpc.MessagingServiceClient(endpoint, channel);
  try {
    const system = new definition.SystemProperties();
    system.setMessageId(`01${crypto.randomUUID().replaceAll("-", "").toUpperCase()}`);
    system.setMessageType(definition.MessageType.NORMAL);
    system.setBodyEncoding(definition.Encoding.IDENTITY);
    const request = new service.SendMessageRequest();
    const message = request.addMessages();
    message.setTopic(new definition.Resource().setName(topic));
    message.setSystemProperties(system);
    message.setBody(body);
    const headers = new Metadata();
    headers.set("x-mq-client-id", "raw");
    headers.set("x-mq-language", "HTTP");
    headers.set("x-mq-protocol", "v2");
    if (secure !== null) {
      const now = util.getRequestDateTime();
      headers.set("x-mq-date-time", now);
      headers.set(
        "authorization",
        `MQv2-HMAC-SHA1 Credential=${secure.accessKey}, SignedHeaders=x-mq-date-time, Signature=${util.sign(secure.secretKey, now)}`,
      );
    }
    const answer = await new Promise<number | undefined>((resolve, reject) => {
      client.sendMessage(request, headers, { deadline: Date.now() + deadlineMs }, (error, response) =>
        error === null ? resolve(response.getStatus()?.getCode()) : reject(error),
      );
    });
    if (answer !== OK) throw new Error(`RocketMQ answered ${answer}`);
  } finally {
    client.close();
  }
}
