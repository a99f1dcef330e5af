import type { Publish } from "../publish/options.ts";
import type { InboxStore } from "../stores.ts";

/** What a consumer uses of the tally that it belongs to. */
export interface ConsumerPorts {
  readonly inbox: InboxStore<unknown> | null;
  readonly publish: Publish;
}
