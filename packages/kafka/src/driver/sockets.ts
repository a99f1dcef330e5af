import type { ISocketFactory } from "kafkajs";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import socketFactory from "kafkajs/src/network/socketFactory.js";
import { Frames } from "./frames.ts";

const ofKafkaJs = (socketFactory as () => ISocketFactory)();

/**
 * Sockets that give kafkajs whole answers only.
 *
 * It keeps the bytes of an unfinished answer over a reconnect, in the same object: cut in the middle of one, it reads all
 * that the next socket brings from a wrong place. Then one request after another times out, until the watchdog replaces the
 * consumer half a minute later; or the reading throws, which ends the process. Here the unfinished part ends with its
 * socket.
 */
export const wholeAnswers: ISocketFactory = (args) => {
  const socket = ofKafkaJs(args);
  const on = socket.on.bind(socket) as (event: string, listener: (...given: never[]) => void) => typeof socket;
  socket.on = (event: string, listener: (...given: never[]) => void) => {
    if (event !== "data") return on(event, listener);
    const frames = new Frames(listener as (bytes: Buffer) => void);
    return on("data", (chunk: Buffer) => {
      try {
        frames.take(chunk);
      } catch (thrown) {
        socket.destroy(thrown as Error);
      }
    });
  };
  return socket;
};
