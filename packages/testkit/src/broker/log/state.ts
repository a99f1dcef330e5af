import type { Incoming } from "@tallymq/core/spi";
import type { GroupName, Left, LogEntry } from "./entries.ts";

export interface KeptTopic {
  readonly ordered: boolean;
  readonly groups: GroupName[];
}

/** A message that is not settled everywhere: in which groups it waits, and in which it is a dead letter. */
export interface KeptMessage {
  readonly place: number;
  readonly message: Incoming;
  /** Wall-clock milliseconds; 0: at once. */
  readonly dueAt: number;
  readonly groups: Map<number, "waiting" | "dead">;
}

/** What a log comes to when it is read from its beginning. */
export class LogState {
  readonly topics: Map<string, KeptTopic> = new Map();
  readonly messages: Map<number, KeptMessage> = new Map();

  apply(entry: LogEntry): void {
    if (entry.kind === "left") return entry.places.forEach((left) => this.#left(left));
    if (entry.kind === "declared") {
      const topic = this.topics.get(entry.topic) ?? { ordered: entry.ordered, groups: [] };
      this.topics.set(entry.topic, topic);
      // Each declaration is written twice, and a later one repeats the groups of an earlier one.
      for (const group of entry.groups)
        if (!topic.groups.some((g) => g.number === group.number)) topic.groups.push(group);
      return;
    }
    const groups = new Map<number, "waiting" | "dead">();
    // Groups declared further down never get it: it was published before they were.
    for (const { number } of this.topics.get(entry.message.topic)?.groups ?? [])
      if (entry.group === 0 || entry.group === number) groups.set(number, "waiting");
    const { place, message, dueAt } = entry;
    this.messages.set(place, { place, message, dueAt, groups });
  }

  #left({ group, place, fate }: Left): void {
    const kept = this.messages.get(place);
    if (kept === undefined) return;
    if (fate === "dead") kept.groups.set(group, "dead");
    else kept.groups.delete(group);
    if (kept.groups.size === 0) this.messages.delete(place);
  }
}
