import type { DecodedTable } from "./fields.ts";
import type { DecodedMethod } from "./methods.ts";
import type { DecodedProperties } from "./properties.ts";

/** A message from the client, whole. */
export interface ReceivedPublish {
  readonly kind: "publish";
  /** Number of the connection, from 0, and of the channel within it. */
  readonly connection: number;
  readonly channel: number;
  /** 1, 2, … from `confirm.select` on, as the client counts; 0 on a channel without confirms. */
  readonly tag: number;
  readonly exchange: string;
  readonly routingKey: string;
  readonly mandatory: boolean;
  readonly immediate: boolean;
  readonly properties: DecodedProperties;
  /** The properties' headers; empty where there are none. */
  readonly headers: DecodedTable;
  readonly body: Buffer;
  /** It came behind the server's `channel.close`: an honest broker drops it. */
  readonly discarded: boolean;
}

/** What the client says about a delivery. */
export interface ReceivedSettlement {
  readonly kind: "ack" | "nack" | "reject";
  readonly connection: number;
  readonly channel: number;
  readonly tag: number;
  readonly multiple: boolean;
  readonly requeue: boolean;
  readonly discarded: boolean;
}

/** Any other method, by its name (`queue.declare`, `confirm.select` …). */
export interface ReceivedMethod extends DecodedMethod {
  readonly kind: "method";
  readonly connection: number;
  readonly channel: number;
}

export interface ReceivedHeartbeat {
  readonly kind: "heartbeat";
  readonly connection: number;
}

/** The socket is gone, whoever ended it. */
export interface ReceivedEnd {
  readonly kind: "end";
  readonly connection: number;
}

export type Received = ReceivedPublish | ReceivedSettlement | ReceivedMethod | ReceivedHeartbeat | ReceivedEnd;
