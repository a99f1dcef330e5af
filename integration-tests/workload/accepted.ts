import { type Incarnation, LedgerReader } from "@tallymq/testkit/ledger";

/**
 * What the earlier lives of a process wrote down as accepted. A line is written when `publish()` has resolved; a killed
 * process may have had more accepted than that, and publishes it again under the same id.
 */
export function acceptedBefore(folder: string, { proc, epoch }: Incarnation): ReadonlySet<string> {
  const ids = new Set<string>();
  if (epoch === 1) return ids;
  const reader = new LedgerReader(folder);
  for (const name of reader.names.filter((each) => each.split(".")[1] === proc)) {
    reader.read(name, (line) => {
      if (line.op === "accepted") ids.add(line.id);
    });
  }
  return ids;
}
