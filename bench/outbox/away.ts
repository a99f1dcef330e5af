import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** A broker that can be away: a proxy in a process of its own, so that what it carries costs the measured process nothing. */
export interface Away extends AsyncDisposable {
  readonly port: number;
  /** Cuts what is open and lets nothing in. */
  refuse(): Promise<void>;
  heal(): Promise<void>;
}

export async function startProxy(target: number): Promise<Away> {
  const child = fork(fileURLToPath(new URL("away-process.ts", import.meta.url)), [String(target)]);
  const answer = async (): Promise<number> => {
    const [port] = (await once(child, "message")) as [number];
    return port;
  };
  const ask = async (what: "refuse" | "heal"): Promise<void> => {
    const answered = answer();
    child.send(what);
    await answered;
  };
  return {
    port: await answer(),
    refuse: () => ask("refuse"),
    heal: () => ask("heal"),
    async [Symbol.asyncDispose]() {
      child.disconnect();
    },
  };
}
