import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test, vi } from "vitest";
import { must } from "../engine/command.ts";
import { ensureImage, ownReference } from "../engine/image.ts";
import { withLock } from "../engine/lock.ts";
import { isOrphan, ownerLabels, ownerOf } from "../engine/owner.ts";
import { answers } from "../engine/probe.ts";
import { until } from "../engine/wait.ts";
import { rabbitmqImage } from "../rabbitmq/image.ts";
import { engine, smallContainer } from "./helpers.ts";

afterEach(() => void vi.unstubAllEnvs());

interface Started {
  readonly process: ChildProcess;
  readonly container: string;
  readonly network: string;
  readonly guard: number;
}

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

async function starter(end: "stay" | "exit"): Promise<Started> {
  const child = spawn(process.execPath, [file("starter.ts"), end], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return { process: child, ...(JSON.parse(line) as Omit<Started, "process">) };
}

async function gone(made: Started): Promise<boolean> {
  const { docker } = await engine();
  const containers = await docker.listContainers({ all: true });
  const networks = await docker.listNetworks();
  const left = containers.some(({ Id }) => Id === made.container) || networks.some(({ Name }) => Name === made.network);
  return !left;
}

describe("leftovers", () => {
  test("the next start removes what a process left that was killed with -9, and nothing of the living", async () => {
    await using living = await smallContainerDisposable();
    const dead = await starter("stay");
    process.kill(dead.guard, "SIGKILL");
    dead.process.kill("SIGKILL");
    await once(dead.process, "exit");
    expect(await gone(dead)).toBe(false);
    const output = await must(process.execPath, [file("../engine/cli.ts"), "start"]);
    expect(output).toContain("removed 2 leftovers");
    expect(await gone(dead)).toBe(true);
    expect(await living.container.state()).toBe("running");
  });

  test.each(["SIGINT", "SIGKILL", "exit"] as const)(
    "a process that ends by %s takes its containers with it",
    async (end) => {
      const made = await starter(end === "exit" ? "exit" : "stay");
      if (end !== "exit") made.process.kill(end);
      await until("the guard to remove the rest", 20_000, () => gone(made));
      expect(made.process.exitCode === 0 || made.process.signalCode === end).toBe(true);
    },
  );

  test("the labels of a living process, of a strange namespace and of nobody are not orphans", () => {
    const mine = ownerLabels();
    expect(isOrphan(mine)).toBe(false);
    expect(isOrphan({ ...mine, "tally.owner": `${process.pid}-1-otherboot` })).toBe(true);
    expect(isOrphan({ "tally.owner": "1-1-otherboot", "tally.pid-namespace": "pid:[1]" })).toBe(false);
    expect(isOrphan({})).toBe(false);
  });
});

describe("images", () => {
  test("a second start builds and pulls nothing", async () => {
    await ensureImage(rabbitmqImage);
    const lines: string[] = [];
    const started = performance.now();
    const image = await ensureImage(rabbitmqImage, (line) => void lines.push(line));
    expect(image.from).toBe("local");
    expect(lines).toEqual([]);
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  test("another recipe is another image", () => {
    const recipe = { ...rabbitmqImage.recipe, packages: ["rabbitmq-server", "strace"] };
    expect(ownReference({ ...rabbitmqImage, recipe })).not.toBe(ownReference(rabbitmqImage));
    expect(ownReference({ ...rabbitmqImage })).toBe(ownReference(rabbitmqImage));
  });

  test("an image that a setting names is used as it is, or refused by name", async () => {
    const { reference } = await ensureImage(rabbitmqImage);
    vi.stubEnv("TALLY_IMAGE_RABBITMQ", reference);
    expect(await ensureImage(rabbitmqImage)).toEqual({ reference, from: "local" });
    vi.stubEnv("TALLY_IMAGE_RABBITMQ", "localhost:1/tally/no-such-image:1");
    await expect(ensureImage(rabbitmqImage)).rejects.toThrow(/TALLY_IMAGE_RABBITMQ names localhost:1/);
  });
});

describe("containers", () => {
  test("a kill and a start keep port and files", async () => {
    await using made = await smallContainerDisposable("cat /kept 2>/dev/null; echo ready; exec sleep 600");
    const { container } = made;
    await container.exec(["sh", "-c", "echo still-here >/kept"]);
    await container.kill();
    expect(await container.state()).toBe("dead");
    const { docker } = await engine();
    const { State } = await docker.getContainer(container.handle.id).inspect();
    expect(State.ExitCode).toBe(128 + 9);
    await container.start();
    expect(await container.logs()).toContain("still-here");
    const { HostConfig } = await docker.getContainer(container.handle.id).inspect();
    const loopback = [{ HostIp: "127.0.0.1", HostPort: String(container.hostPort) }];
    expect(HostConfig.PortBindings).toEqual({ "5672/tcp": loopback });
  });

  test("one that ends before it is ready says why, and is not left behind", async () => {
    const { docker } = await engine();
    const filters = { label: [`tally.owner=${ownerOf(process.pid)}`] };
    await expect(smallContainer("echo disk on fire; exit 3")).rejects.toThrow("disk on fire");
    // The engine's list may show it for a moment after it is gone.
    await until("an empty list", 5_000, async () => (await docker.listContainers({ all: true, filters })).length === 0);
  });

  test("a failing command is an error with its output", async () => {
    await using made = await smallContainerDisposable();
    await expect(made.container.exec(["sh", "-c", "echo why; exit 4"])).rejects.toThrow(/ended with 4[^]*why/);
  });
});

describe("engine", () => {
  test("an engine on another machine is not used: its loopback is not ours", async () => {
    expect(await answers("tcp://192.0.2.1:2375")).toBe(false);
    expect(await answers("unix:///no/such/socket")).toBe(false);
    expect(await answers((await engine()).host)).toBe(true);
  });

  test("a lock has one holder at a time and dies with it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "tally-lock-"));
    const lock = join(folder, "lock");
    const count = join(folder, "count");
    await writeFile(count, "0");
    const add = async (): Promise<void> => {
      const value = Number(await readFile(count, "utf8"));
      await new Promise((resolve) => setImmediate(resolve));
      await writeFile(count, String(value + 1));
    };
    await Promise.all(Array.from({ length: 8 }, () => withLock(lock, () => {}, add)));
    expect(await readFile(count, "utf8")).toBe("8");
    // A holder that is killed while it holds: its lock is free at once.
    const holder = `import { withLock } from ${JSON.stringify(file("../engine/lock.ts"))};
      await withLock(${JSON.stringify(lock)}, () => {}, () => { console.log("held"); return new Promise((r) => setTimeout(r, 60_000)); });`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", holder], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    let entered = false;
    const mine = withLock(
      lock,
      () => {},
      async () => void (entered = true),
    );
    expect(entered).toBe(false);
    child.kill("SIGKILL");
    await mine;
    expect(entered).toBe(true);
    await rm(folder, { recursive: true });
  });
});

async function smallContainerDisposable(
  script = "echo ready; exec sleep 600",
): Promise<{ container: Awaited<ReturnType<typeof smallContainer>> } & AsyncDisposable> {
  const container = await smallContainer(script);
  return { container, [Symbol.asyncDispose]: () => container.remove() };
}
