/**
 * How much more CPU time `work` takes for eight times as much: about 8 if it is linear, 64 if it is square. The least of
 * three tries each; CPU time, so that other work on the machine counts little.
 */
export async function growth(count: number, work: (count: number) => unknown): Promise<number> {
  const least = async (n: number): Promise<number> => {
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 3; i++) {
      const start = process.threadCpuUsage();
      await work(n);
      const { user, system } = process.threadCpuUsage(start);
      best = Math.min(best, user + system);
    }
    return best;
  };
  await work(count);
  // A clock of some milliseconds' grain: what takes less than that tells nothing.
  return (await least(count * 8)) / Math.max(await least(count), 4_000);
}

/** Between linear and square, with room for both. */
export const MUCH = 24;
