import type { Stall } from "./task.ts";

/**
 * Watches this thread's event loop with a timer of a millisecond. On a machine that others use too the loop also stands still
 * because somebody else has the core: the CPU that the thread had between two looks tells which it was.
 */
export function watchStalls(): () => Stall {
  let [wall, cpu] = [performance.now(), cpuMs()];
  let [wallMs, cpuAtMost] = [0, 0];
  const look = (): void => {
    const [now, used] = [performance.now(), cpuMs()];
    wallMs = Math.max(wallMs, now - wall - 1);
    cpuAtMost = Math.max(cpuAtMost, used - cpu);
    [wall, cpu] = [now, used];
  };
  const timer = setInterval(look, 1);
  return () => {
    clearInterval(timer);
    look();
    return { wallMs, cpuMs: cpuAtMost };
  };
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
