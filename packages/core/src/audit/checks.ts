import type { AuditFinding, Severity } from "../port/audit.ts";

/** What a check of an adapter says of itself. */
export interface AuditCheck {
  readonly name: string;
  readonly severity: Severity;
  /** What should be, for the documents. */
  readonly title: string;
  readonly why: string;
  /** A command or an option, with the adapter's placeholders (`<name>` …) in it. */
  readonly fix: string;
}

/** What a check has found; null: nothing. `unseen`: it could not look. */
export type Found = { readonly text: string; readonly severity?: Severity; readonly fix?: string } | "unseen" | null;

/** One thing that a check has looked at. */
export interface Looked {
  /** Queue, topic, group …; null: it is the destination itself. */
  readonly kind: string | null;
  readonly name: string;
  readonly found: Found;
}

/** Things that one finding shows. */
const SHOWN = 5;

/**
 * The findings of one check. What it could not look at is one finding, however many things it is about.
 * @param filled A text with its placeholders replaced, for the thing of that name.
 * @param see What lets a user see the thing of that name.
 */
export function findingsOf(
  check: AuditCheck,
  looked: Iterable<Looked>,
  filled: (text: string, name: string) => string,
  see: (name: string) => string,
): readonly AuditFinding[] {
  const findings: AuditFinding[] = [];
  const unseen: { readonly what: string; readonly name: string }[] = [];
  for (const { kind, name, found } of looked) {
    if (found === null) continue;
    const what = kind === null ? name : `${kind} ${JSON.stringify(name)}`;
    if (found === "unseen") {
      unseen.push({ what, name });
      continue;
    }
    const { text, severity = check.severity, fix = check.fix } = found;
    findings.push({
      check: check.name,
      severity,
      what,
      text,
      why: filled(check.why, name),
      fix: filled(fix, name),
    });
  }
  const [first] = unseen;
  if (first === undefined) return findings;
  const shown = unseen.slice(0, SHOWN).map(({ what }) => what);
  const more = unseen.length - shown.length;
  findings.push({
    check: check.name,
    severity: "info",
    what: `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`,
    text: `unverifiable: whether ${check.title}`,
    why: check.why,
    fix: see(first.name),
  });
  return findings;
}
