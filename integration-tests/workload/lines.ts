import type { TallyEvent } from "@tallymq/core";
import type { LedgerOp } from "@tallymq/testkit/ledger";

/** What a tally's event is in the ledger. Answers of `publish()` and effects are written by who sees them. */
export function linesOf(event: TallyEvent): readonly LedgerOp[] {
  switch (event.type) {
    case "resend":
      return [{ op: "resent", id: event.id, att: event.copy }];
    case "duplicate":
      // The inbox knows it: acked without its handler, which would have written that it came.
      return event.id === null
        ? []
        : [
            { op: "deliver", id: event.id },
            { op: "dedup", id: event.id },
          ];
    case "dead-lettered":
      return event.id === null ? [] : [{ op: "dead", id: event.id, reason: event.reason || "none given" }];
    case "spilled":
      return [];
    case "surfaced":
      return [{ op: "surfaced", kind: `surfaced: ${event.what}: ${event.text}` }];
    default:
      return [{ op: "surfaced", kind: event.type, id: "id" in event ? event.id : null }];
  }
}
