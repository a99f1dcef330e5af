import {
  type AdminPort,
  type Broker,
  type Receiver,
  type ReceiverEvents,
  type Sender,
  type SenderEvents,
  type Subscription,
  TallyError,
  type Traits,
  type Transport,
} from "@tallymq/core/spi";
import { type Address, parseAddress } from "../address.ts";
import { atOptions, type MemoryAtOptions } from "../options.ts";
import { MEMORY_TRAITS } from "../traits.ts";
import { remoteAdmin } from "./admin.ts";
import { Link } from "./link.ts";
import { RemoteReceiver } from "./receiver.ts";
import { RemoteSender } from "./sender.ts";

/** One tally's way to a broker process: a connection for each session, so that each can be lost by itself. */
class RemoteTransport implements Transport {
  readonly name: string;
  readonly traits: Traits = MEMORY_TRAITS;
  readonly admin: AdminPort;
  readonly halfMessages: null = null;
  readonly members: null = null;
  readonly audit: null = null;
  readonly #address: Address;
  readonly #sessions: Set<AsyncDisposable> = new Set();
  #epoch = 0;
  #closed = false;

  constructor(name: string, address: Address) {
    this.name = name;
    this.#address = address;
    this.admin = remoteAdmin(address);
  }

  async openSender(events: SenderEvents, signal: AbortSignal): Promise<Sender> {
    const link = await this.#link({ role: "sender" }, signal);
    const sender = new RemoteSender(link, events, this.#gone);
    this.#sessions.add(sender);
    return sender;
  }

  async openReceiver(
    { topic, group, credit }: Subscription,
    events: ReceiverEvents,
    signal: AbortSignal,
  ): Promise<Receiver> {
    const link = await this.#link({ role: "receiver", topic: topic.name, group, credit }, signal);
    this.#epoch += 1;
    const receiver = new RemoteReceiver(link, this.#epoch, this.#gone);
    const onAbort = (): void => receiver.abandon(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#sessions.add(receiver);
    try {
      await receiver.subscribe(events);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
    return receiver;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const session of this.#sessions) await session[Symbol.asyncDispose]();
  }

  readonly #gone = (session: AsyncDisposable): void => {
    this.#sessions.delete(session);
  };

  #link(hello: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Link> {
    if (this.#closed) return Promise.reject(new TallyError("closed", "the transport is closed"));
    return Link.open(this.#address, hello, signal);
  }
}

/** @throws TallyError `bad-config` */
export function remoteBroker(given: MemoryAtOptions): Broker {
  const options = atOptions(given);
  const address = parseAddress("memory: at", options.at);
  return { name: options.name, open: () => new RemoteTransport(options.name, address) };
}
