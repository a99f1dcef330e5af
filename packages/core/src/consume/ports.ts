import type { AuditSubject } from "../port/audit.ts";
import type { MemoryBound } from "../memory.ts";
import type { Members } from "./members.ts";
import type { Runners } from "../park/runners.ts";
import type { Publish } from "../publish/options.ts";
import type { Transacted } from "../publish/transacted.ts";
import type { InboxStore } from "../stores.ts";

/** What a consumer uses of the tally that it belongs to. */
export interface ConsumerPorts {
  readonly inbox: InboxStore<unknown> | null;
  readonly publish: Publish;
  /** Is told of handlers' transactions, so that they can publish in them; null without any. */
  readonly transacted: Pick<Transacted, "begin"> | null;
  /** Shows the inbox to the other members of a group; null: there is none, or nobody looks. */
  readonly members: Members | null;
  /** Looks at what a topic and group have on the broker. @throws TallyError `unsafe` */
  readonly audit: (where: string, subjects: readonly AuditSubject[]) => Promise<void>;
  /** Counts what this consumer may hold. */
  readonly memory: MemoryBound;
  /** Who runs parked messages. */
  readonly runners: Runners;
}
