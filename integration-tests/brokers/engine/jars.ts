import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { must } from "./command.ts";
import { ensurePrograms, systemPath } from "./packages.ts";
import type { Progress } from "./progress.ts";

export interface JarFolder extends AsyncDisposable {
  readonly folder: string;
}

/** These artifacts and all that they need at run time, in a folder that is removed when it is disposed of. */
export async function fetchJars(artifacts: readonly string[], progress: Progress): Promise<JarFolder> {
  await ensurePrograms({ mvn: "maven" }, progress);
  const at = await mkdtemp(join(tmpdir(), "tally-jars-"));
  const remove = (): Promise<void> => rm(at, { recursive: true, force: true });
  try {
    progress(`fetching ${artifacts.join(", ")} with Maven …`);
    const started = performance.now();
    await writeFile(join(at, "pom.xml"), pom(artifacts));
    const folder = join(at, "jars");
    const goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", `-DoutputDirectory=${folder}`];
    await must("mvn", ["-q", "-B", "-f", join(at, "pom.xml"), ...goal], { PATH: systemPath() });
    progress(`fetched in ${((performance.now() - started) / 1000).toFixed(0)} s`);
    return { folder, [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

function pom(artifacts: readonly string[]): string {
  const dependencies = artifacts.map((artifact) => {
    const [group, name, version] = artifact.split(":");
    return `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>`;
  });
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>tally</groupId><artifactId>image</artifactId><version>1</version>
<dependencies>${dependencies.join("\n")}</dependencies>
</project>
`;
}
