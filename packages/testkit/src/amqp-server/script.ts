import type { ServerChannel, ServerConsumer } from "./channel.ts";
import type { ServerConnection } from "./connection.ts";
import type { ReceivedMethod, ReceivedPublish, ReceivedSettlement } from "./received.ts";

/**
 * What a test decides. Everything that is left out is answered as an honest broker does; a publish on a channel with
 * confirms is then acked. An exception in a hook fails every `waitFor`, and the server's disposal if none waited.
 */
export interface AmqpScript {
  /** A socket was accepted; nothing has been said. */
  readonly onSocket?: (connection: ServerConnection) => void;
  /** The client asks for its virtual host, the last step of the handshake. `"handled"`: no `open-ok` (close it, or leave it waiting). */
  readonly onOpen?: (connection: ServerConnection) => "handled" | void;
  /** Any method but a publish and a settlement, before it is answered. `"handled"`: it is not answered. */
  readonly onMethod?: (
    method: ReceivedMethod,
    connection: ServerConnection,
    channel: ServerChannel | null,
  ) => "handled" | void;
  /** A whole publish. Nothing is answered but what the hook says: ack, nack, return, close, drop, or silence. */
  readonly onPublish?: (publish: ReceivedPublish, channel: ServerChannel) => void;
  /** A `tx.commit`, with what was published for it. Nothing is answered but what the hook says: returns, `commitOk`, a close, or silence. */
  readonly onCommit?: (publishes: readonly ReceivedPublish[], channel: ServerChannel) => void;
  /** A consumer was started and told so: the moment to deliver. */
  readonly onConsume?: (consumer: ServerConsumer, channel: ServerChannel) => void;
  readonly onSettle?: (settlement: ReceivedSettlement, channel: ServerChannel) => void;
}
