import type { AuditFinding } from "@tallymq/core/spi";
import { type Check, CHECKS, type Found } from "./checks.ts";
import type { World } from "./world.ts";

/** All that the checks find in a world. What one could not look at is one finding, however many queues it is about. */
export function judge(world: World): readonly AuditFinding[] {
  const findings: AuditFinding[] = [];
  for (const check of CHECKS) {
    const unseen: string[] = [];
    const note = (what: string, name: string, found: Found): void => {
      if (found === null) return;
      if (found === "unseen") return void unseen.push(name);
      const { name: of, severity, why, fix } = check;
      const text = filled(found.fix ?? fix, name, world);
      findings.push({ check: of, severity: found.severity ?? severity, what, text: found.text, why, fix: text });
    };
    look(check, world, note);
    if (unseen.length > 0) findings.push(unverifiable(check, unseen));
  }
  return findings;
}

function look(check: Check, world: World, note: (what: string, name: string, found: Found) => void): void {
  if (check.of === "broker") note(world.destination, world.destination, check.look(world));
  else if (check.of === "exchange")
    for (const one of world.exchanges) note(`exchange ${JSON.stringify(one.name)}`, one.name, check.look(one, world));
  else for (const one of world.queues) note(`queue ${JSON.stringify(one.name)}`, one.name, check.look(one, world));
}

function unverifiable({ name, title, why }: Check, of: readonly string[]): AuditFinding {
  const more = of.length > 5 ? ` and ${of.length - 5} more` : "";
  return {
    check: name,
    severity: "info",
    what: `${of
      .slice(0, 5)
      .map((one) => JSON.stringify(one))
      .join(", ")}${more}`,
    text: `unverifiable: whether ${title}`,
    why,
    fix:
      name === "consumer-timeout"
        ? "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).' shows it; the default is 1800000 ms"
        : 'rabbitmq({ management: { url: "http://user:password@host:15672" } })',
  };
}

function filled(fix: string, name: string, { vhost, exchanges }: World): string {
  const type = exchanges.find((one) => one.name === name)?.type ?? "fanout";
  return fix.replaceAll("<name>", name).replaceAll("<vhost>", vhost).replaceAll("<type>", type);
}
