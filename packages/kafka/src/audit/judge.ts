import type { AuditFinding } from "@tallymq/core/spi";
import { type Check, CHECKS, type Found } from "./checks.ts";
import type { World } from "./world.ts";

/** What lets a user see what it could not. */
const RIGHTS: Readonly<Record<Check["of"], string>> = {
  topic:
    "kafka-acls --bootstrap-server <brokers> --add --allow-principal User:<you> --operation Describe --operation DescribeConfigs --topic <name>",
  group:
    "kafka-acls --bootstrap-server <brokers> --add --allow-principal User:<you> --operation Describe --group <name>",
  broker:
    "kafka-acls --bootstrap-server <brokers> --add --allow-principal User:<you> --operation DescribeConfigs --cluster",
};

/** All that the checks find in a world. What one could not look at is one finding, however many topics it is about. */
export function judge(world: World): readonly AuditFinding[] {
  const findings: AuditFinding[] = [];
  for (const check of CHECKS) {
    const unseen: string[] = [];
    const note = (what: string, name: string, found: Found): void => {
      if (found === null) return;
      if (found === "unseen") return void unseen.push(name);
      const { severity = check.severity, text, fix = check.fix } = found;
      findings.push({ check: check.name, severity, what, text, why: check.why, fix: filled(fix, name, world) });
    };
    look(check, world, note);
    if (unseen.length > 0) findings.push(unverifiable(check, unseen, world));
  }
  return findings;
}

function look(check: Check, world: World, note: (what: string, name: string, found: Found) => void): void {
  if (check.of === "broker") note(world.destination, world.destination, check.look(world));
  else if (check.of === "group")
    for (const one of world.groups) note(`group ${JSON.stringify(one.name)}`, one.name, check.look(one));
  else for (const one of world.topics) note(`topic ${JSON.stringify(one.name)}`, one.name, check.look(one, world));
}

function unverifiable({ name, of, title, why }: Check, unseen: readonly string[], world: World): AuditFinding {
  const more = unseen.length > 5 ? ` and ${unseen.length - 5} more` : "";
  const shown = unseen.slice(0, 5).map((one) => JSON.stringify(one));
  return {
    check: name,
    severity: "info",
    what: `${shown.join(", ")}${more}`,
    text: `unverifiable: whether ${title}`,
    why,
    fix: filled(RIGHTS[of], unseen[0]!, world),
  };
}

function filled(fix: string, name: string, { bootstrap }: World): string {
  return fix.replaceAll("<name>", name).replaceAll("<brokers>", bootstrap);
}
