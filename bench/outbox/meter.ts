/** Rate and CPU from its making on. */
export class Meter {
  readonly #cpu: NodeJS.CpuUsage = process.cpuUsage();
  readonly #began: number = performance.now();

  end(messages: number): { readonly rate: number; readonly cpuMicros: number; readonly seconds: number } {
    const seconds = (performance.now() - this.#began) / 1_000;
    const { user, system } = process.cpuUsage(this.#cpu);
    return { rate: messages / seconds, cpuMicros: (user + system) / Math.max(1, messages), seconds };
  }
}

/** Something must be so at the end: its count, or a problem in words. */
export function counted(what: string, got: number, expected: number): readonly string[] {
  return got === expected ? [] : [`${what}: ${got.toLocaleString("en")} of ${expected.toLocaleString("en")}`];
}

/** Growth of `y` for one more of `x`, by least squares. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (of: 0 | 1): number => points.reduce((sum, point) => sum + point[of], 0) / points.length;
  const [mx, my] = [mean(0), mean(1)];
  const over = points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0);
  const under = points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  return over / under;
}
