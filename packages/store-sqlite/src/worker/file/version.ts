import { Fault } from "../fault.ts";

/**
 * SQLite 3.7.0 to 3.51.2 can damage a store when several connections reset its log at once (fixed in 3.51.3).
 * @returns what a person should know, or null.
 * @throws Fault `store` where several processes may open the store.
 */
export function judgeSqlite(version: string, processes: "many" | "one"): string | null {
  const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
  const number = major * 1_000_000 + minor * 1_000 + patch;
  if (number < 3_007_000) throw new Fault("store", `SQLite ${version} has no write-ahead log`);
  if (number >= 3_051_003) return null;
  const bug = `SQLite ${version} can damage a store that several connections write (fixed in 3.51.3)`;
  if (processes === "many")
    throw new Fault("store", `${bug}: use a Node with a newer one, or open the store with processes: "one"`);
  return bug;
}
