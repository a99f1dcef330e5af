import {
  type AdminPort,
  type Broker,
  OpenSessions,
  type Receiver,
  type ReceiverEvents,
  type Sender,
  type SenderEvents,
  type Subscription,
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
  readonly #sessions: OpenSessions = new OpenSessions();
  #epoch = 0;

  constructor(name: string, address: Address) {
    this.name = name;
    this.#address = address;
    this.admin = remoteAdmin(address);
  }

  async openSender(events: SenderEvents, signal: AbortSignal): Promise<Sender> {
    const link = await this.#link({ role: "sender" }, signal);
    return this.#sessions.add(new RemoteSender(link, events, this.#sessions.ended));
  }

  async openReceiver(
    { topic, group, credit }: Subscription,
    events: ReceiverEvents,
    signal: AbortSignal,
  ): Promise<Receiver> {
    const link = await this.#link({ role: "receiver", topic: topic.name, group, credit }, signal);
    this.#epoch += 1;
    const receiver = new RemoteReceiver(link, this.#epoch, this.#sessions.ended);
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
    await this.#sessions[Symbol.asyncDispose]();
  }

  async #link(hello: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Link> {
    this.#sessions.throwIfClosed();
    return await Link.open(this.#address, hello, signal);
  }
}

/** @throws TallyError `bad-config` */
export function remoteBroker(given: MemoryAtOptions): Broker {
  const options = atOptions(given);
  const address = parseAddress("memory: at", options.at);
  return { name: options.name, open: () => new RemoteTransport(options.name, address) };
}
