import { isGone, willMake } from "./cleanup.ts";
import { ensureEngine } from "./engine.ts";
import { ownerLabels, removeNetwork } from "./owner.ts";

/** A network in which containers find each other by name. */
export interface ContainerNetwork extends AsyncDisposable {
  readonly name: string;
  /** After its containers. */
  remove(): Promise<void>;
}

export async function createNetwork(name: string): Promise<ContainerNetwork> {
  const { docker } = await ensureEngine();
  willMake(name);
  const made = await docker.createNetwork({ Name: name, Driver: "bridge", Labels: { ...ownerLabels() } });
  const remove = async (): Promise<void> => {
    await removeNetwork(docker, made.id);
    isGone(name);
  };
  return { name, remove, [Symbol.asyncDispose]: remove };
}
