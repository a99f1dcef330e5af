// What a user gets: the tarballs of all packages, installed with npm into a project
// outside this repository that has the peers and nothing of ours besides.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { driverVersion, freshProject, type Outcome, packAll, type Packed, run, tool, writeAll } from "./pack.ts";

const NAMES = [
  "@tallymq/core",
  "@tallymq/kafka",
  "@tallymq/rabbitmq",
  "@tallymq/rocketmq",
  "@tallymq/store-sqlite",
  "@tallymq/testkit",
];

let scratch = "";
let project = "";
let packed: readonly Packed[] = [];
let installed: Outcome = { status: -1, output: "not run" };

const of = (name: string): Packed => {
  const found = packed.find((each) => each.name === name);
  if (found === undefined) throw new Error(`${name} was not packed`);
  return found;
};

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "tally-packed-"));
  packed = await packAll(scratch);
  project = await freshProject();
  installed = await run(
    project,
    "npm",
    "install",
    "--strict-peer-deps",
    "--prefer-offline",
    "--no-audit",
    "--no-fund",
    ...packed.map(({ tarball }) => tarball),
    `amqplib@${await driverVersion("rabbitmq", "amqplib")}`,
    `kafkajs@${await driverVersion("kafka", "kafkajs")}`,
    `rocketmq-client-nodejs@${await driverVersion("rocketmq", "rocketmq-client-nodejs")}`,
    `@grpc/grpc-js@${await driverVersion("rocketmq", "@grpc/grpc-js")}`,
    "@types/node@24",
  );
});
afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
  await rm(project, { recursive: true, force: true });
});

it("packs every package", () => {
  expect(packed.map(({ name }) => name).toSorted()).toEqual(NAMES);
});

describe.each(NAMES)("the tarball of %s", (name) => {
  it("holds what is built, and only that", () => {
    const strangers = of(name).files.filter(
      (path) => !/^(package\.json|README\.md|LICENSE)$|^dist\/.*(\.js|\.js\.map|\.d\.ts)$/.test(path),
    );
    expect(strangers).toEqual([]);
    expect(of(name).files).toEqual(expect.arrayContaining(["LICENSE", "dist/index.js", "dist/index.d.ts"]));
  });

  it("runs no script at install and points at no workspace", () => {
    expect(of(name).manifest["scripts"] ?? {}).toEqual({});
    expect(JSON.stringify(of(name).manifest)).not.toMatch(/workspace:|\.\/src\//);
  });

  it("is content with publint", async () => {
    const { status, output } = await tool(scratch, "publint", of(name).tarball, "--strict");
    expect(status, output).toBe(0);
  });

  it("resolves with its types under every way of an ESM package", async () => {
    const { status, output } = await tool(scratch, "attw", of(name).tarball, "--profile", "esm-only", "--no-color");
    expect(status, output).toBe(0);
  });
});

describe("a fresh project with the tarballs", () => {
  it("installs with strict peers and misses none", async () => {
    expect(installed.status, installed.output).toBe(0);
    const list = await run(project, "npm", "ls", "--all");
    expect(list.status, list.output).toBe(0);
  });

  const entries = (): readonly string[] =>
    packed.flatMap(({ name, manifest }) =>
      Object.keys(manifest["exports"] as object)
        .filter((entry) => entry !== "./package.json")
        .map((entry) => `${name}${entry.slice(1)}`),
    );

  it("imports every entry", async () => {
    const lines = entries().map((entry) => `check(${JSON.stringify(entry)}, await import(${JSON.stringify(entry)}));`);
    await writeAll(project, { "import.mjs": `${CHECK}\n${lines.join("\n")}\n` });
    const { status, output } = await run(project, "node", "import.mjs");
    expect(status, output).toBe(0);
  });

  it("requires every entry from CommonJS", async () => {
    const lines = entries().map((entry) => `check(${JSON.stringify(entry)}, require(${JSON.stringify(entry)}));`);
    await writeAll(project, { "require.cjs": `${CHECK}\n${lines.join("\n")}\n` });
    const { status, output } = await run(project, "node", "require.cjs");
    expect(status, output).toBe(0);
  });

  it.each([
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ])("compiles against the types (module %s, resolution %s)", async (module, moduleResolution) => {
    const uses = entries().map((entry, index) => `export * as entry${index} from ${JSON.stringify(entry)};`);
    const tsconfig = {
      compilerOptions: {
        module,
        moduleResolution,
        target: "es2024",
        lib: ["es2024", "esnext.disposable"],
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        noEmit: true,
        types: ["node"],
      },
      include: ["../*.ts"],
    };
    await writeAll(project, {
      "all.ts": uses.join("\n"),
      "program.ts": PROGRAM,
      "killed.ts": KILLED,
      [`${moduleResolution}/tsconfig.json`]: JSON.stringify(tsconfig),
    });
    const { status, output } = await tool(project, "tsc", "-p", moduleResolution);
    expect(status, output).toBe(0);
  });

  it("refuses a wrong use when compiling: the types are there, not any", async () => {
    await writeAll(project, {
      "wrong/wrong.ts": `import { topic } from "@tallymq/core";\nexport const a: number = topic("orders");\n`,
      "wrong/tsconfig.json": JSON.stringify({
        compilerOptions: { module: "nodenext", target: "es2024", strict: true, noEmit: true, types: ["node"] },
      }),
    });
    const { status, output } = await tool(project, "tsc", "-p", "wrong");
    expect(status).not.toBe(0);
    expect(output).toContain("TS2322");
  });

  it("runs a program on the embedded broker", async () => {
    await writeAll(project, { "program.ts": PROGRAM });
    const { status, output } = await run(project, "node", "program.ts");
    expect(output).toBe("confirmed\ngot 1\n");
    expect(status).toBe(0);
  });

  it("runs a program with its outbox and inbox in SQLite files", async () => {
    await writeAll(project, { "stored.ts": STORED });
    const { status, output } = await run(project, "node", "stored.ts");
    expect(output).toBe("stored\ngot 1\n");
    expect(status).toBe(0);
  });

  it("runs a program on an embedded broker in a process of its own, killed with -9 in between", async () => {
    await writeAll(project, { "killed.ts": KILLED });
    const { status, output } = await run(project, "node", "killed.ts");
    expect(output).toBe("confirmed\ngot 1\n");
    expect(status).toBe(0);
  });
});

const CHECK = `function check(entry, module) {
  if (Object.keys(module).length === 0) { console.error(entry + " exports nothing"); process.exitCode = 1; }
}`;

const PROGRAM = `import { openTally, topic } from "@tallymq/core";
import { memory } from "@tallymq/testkit";

const orders = topic<{ id: number }>("orders");
await using tally = await openTally({ service: "shop", broker: memory() });
const arrived = Promise.withResolvers<number>();
await using billing = await tally.consumer("billing").on(orders, async (order) => arrived.resolve(order.id)).start();
console.log((await tally.publish(orders, { id: 1 })).state);
console.log("got", await arrived.promise);
`;

const STORED = `import { openTally, topic } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { memory } from "@tallymq/testkit";

const orders = topic<{ id: number }>("orders", { outbox: "always" });
await using tally = await openTally({
  service: "shop",
  broker: memory(),
  outbox: sqlite(\`\${import.meta.dirname}/outbox.db\`),
  inbox: sqlite(\`\${import.meta.dirname}/inbox.db\`),
});
const arrived = Promise.withResolvers<number>();
await using billing = await tally.consumer("billing", { effect: "marked" }).on(orders, async (order) => arrived.resolve(order.id)).start();
console.log((await tally.publish(orders, { id: 1 })).state);
console.log("got", await arrived.promise);
`;

const KILLED = `import { openTally, topic, type Broker } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { rabbitmq } from "@tallymq/rabbitmq";
import { rocketmq } from "@tallymq/rocketmq";
import { memory, startMemoryBroker } from "@tallymq/testkit";

const at = \`unix:\${import.meta.dirname}/broker.sock\`;
const brokers: readonly Broker[] = [memory({ at }), rabbitmq({ urls: ["amqp://localhost"] }), kafka({ brokers: ["localhost:9092"] }), rocketmq({ endpoints: ["localhost:8081"] })];
await using process = await startMemoryBroker({ at, dataDir: \`\${import.meta.dirname}/data\` });
const orders = topic<{ id: number }>("orders");
await using tally = await openTally({ service: "shop", broker: brokers[0]! });
const arrived = Promise.withResolvers<number>();
await using billing = await tally.consumer("billing").on(orders, async (order) => arrived.resolve(order.id)).start();
await process.kill();
await process.restart();
console.log((await tally.publish(orders, { id: 1 })).state);
console.log("got", await arrived.promise);
`;
