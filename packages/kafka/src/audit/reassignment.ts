import type { PartitionState } from "./world.ts";

/** Replicas that a partition should have, as far as there are brokers. */
const ENOUGH = 3;
/** Of more partitions than these the rest is left to the reader. */
const SHOWN = 24;

/** The command that gives each partition more replicas, whole: its file is what `kafka-reassign-partitions` takes. */
export function moreReplicas(partitions: readonly PartitionState[], brokers: readonly number[]): string {
  const wanted = Math.min(ENOUGH, brokers.length);
  const plan = partitions.slice(0, SHOWN).map(({ partition, replicas }) => {
    // In turn, so that not all of them go to the same brokers.
    const at = partition % brokers.length;
    const others = [...brokers.slice(at), ...brokers.slice(0, at)].filter((broker) => !replicas.includes(broker));
    return {
      topic: "<name>",
      partition,
      replicas: [...replicas, ...others].slice(0, Math.max(wanted, replicas.length)),
    };
  });
  const rest = partitions.length > SHOWN ? `, and so on for its other ${partitions.length - SHOWN} partitions` : "";
  return `echo '${JSON.stringify({ version: 1, partitions: plan })}' > more.json; kafka-reassign-partitions --bootstrap-server <brokers> --reassignment-json-file more.json --execute${rest}`;
}
