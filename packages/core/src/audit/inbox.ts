import type { InboxStore } from "../stores.ts";
import type { AuditFinding, AuditSubject } from "../port/audit.ts";

const WHY = "a redelivery to a member that has another inbox has its effect again";

/** What an inbox's scope leaves open for those who consume. */
export function inboxFindings(
  subjects: readonly AuditSubject[],
  inbox: Pick<InboxStore<unknown>, "id" | "scope"> | null,
  apart: (topic: string, group: string) => boolean,
): readonly AuditFinding[] {
  const consumed = subjects.filter(({ group }) => group !== null);
  if (inbox === null || consumed.length === 0) return [];
  const findings: AuditFinding[] = [];
  for (const { topic, group } of consumed) {
    if (!apart(topic.name, group!)) continue;
    findings.push({
      check: "inbox-scope",
      severity: "error",
      what: `group ${JSON.stringify(group)} of topic ${JSON.stringify(topic.name)}`,
      text: "its members have different inboxes",
      why: WHY,
      fix: "openTally({ inbox }) with one and the same store in each member",
    });
  }
  if (inbox.scope !== "shared" && findings.length === 0)
    findings.push({
      check: "inbox-scope",
      severity: "info",
      what: "the inbox",
      text:
        inbox.scope === "host"
          ? "it is a file of this machine: it protects the members that run on it"
          : "it lives in this process's memory: it forgets everything at its end",
      why: WHY,
      fix:
        inbox.scope === "host"
          ? "run all members of a group on this machine, or give them a shared inbox"
          : "openTally({ inbox: sqlite(path) })",
    });
  return findings;
}
