import type { AuditFinding } from "@tallymq/core/spi";
import { type Check, CHECKS, type Found } from "./checks.ts";
import type { World } from "./world.ts";

/** All that the checks find in a world. What one could not look at is one finding, however many things it is about. */
export function judge(world: World): readonly AuditFinding[] {
  const findings: AuditFinding[] = [];
  for (const check of CHECKS) {
    const unseen: string[] = [];
    const note = (what: string, name: string, found: Found): void => {
      if (found === null) return;
      if (found === "unseen") return void unseen.push(what);
      const { name: of, severity, why, fix } = check;
      findings.push({
        check: of,
        severity: found.severity ?? severity,
        what,
        text: found.text,
        why: why.replaceAll("<name>", name),
        fix: (found.fix ?? fix).replaceAll("<name>", name),
      });
    };
    look(check, world, note);
    if (unseen.length > 0) findings.push(unverifiable(check, unseen));
  }
  return findings;
}

function look(check: Check, world: World, note: (what: string, name: string, found: Found) => void): void {
  const { destination, brokers, topics, groups } = world;
  switch (check.of) {
    case "cluster":
      return note(destination, destination, check.look(world));
    case "broker":
      if (brokers === null) return note(destination, destination, "unseen");
      for (const one of brokers) note(`broker ${JSON.stringify(one.name)}`, one.name, check.look(one, world));
      return;
    case "topic":
      for (const one of topics) note(`topic ${JSON.stringify(one.name)}`, one.name, check.look(one, world));
      return;
    case "group":
      for (const one of groups) note(`group ${JSON.stringify(one.name)}`, one.name, check.look(one, world));
  }
}

function unverifiable({ name, title, why }: Check, of: readonly string[]): AuditFinding {
  const more = of.length > 5 ? ` and ${of.length - 5} more` : "";
  return {
    check: name,
    severity: "info",
    what: `${of.slice(0, 5).join(", ")}${more}`,
    text: `unverifiable: whether ${title}`,
    why,
    fix: 'rocketmq({ names: ["host:9876"] }), with the brokers\' ports (10911) and those of controllers open to this process',
  };
}
