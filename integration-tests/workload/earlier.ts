import { type Incarnation, LedgerReader } from "@tallymq/testkit/ledger";

/**
 * What the earlier lives of a process wrote down. A line `accepted` is written when `publish()` has resolved: a killed
 * process may have had more accepted than that, and publishes it again under the same id.
 */
export function earlierLives(
  folder: string,
  { proc, epoch }: Incarnation,
): { readonly invoked: ReadonlySet<string>; readonly accepted: ReadonlySet<string> } {
  const [invoked, accepted] = [new Set<string>(), new Set<string>()];
  const reader = new LedgerReader(folder);
  const names = epoch === 1 ? [] : reader.names.filter((each) => each.split(".")[1] === proc);
  for (const name of names) {
    reader.read(name, (line) => {
      if (line.op === "invoke") invoked.add(line.id);
      else if (line.op === "accepted") accepted.add(line.id);
    });
  }
  return { invoked, accepted };
}
