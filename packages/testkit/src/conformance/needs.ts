import type { Traits } from "@tallymq/core/spi";
import type { ConformanceCase, Need, Rig } from "./case.ts";
import { within } from "./wait.ts";
import { testHost } from "./host.ts";

/** What a set of cases comes to on one broker. */
export interface Applicability {
  readonly applicable: readonly ConformanceCase[];
  readonly notApplicable: readonly { readonly name: string; readonly needs: readonly Need[] }[];
}

/** Sorts cases by whether this broker and this rig can be asked; `needs` names only those that are missing. */
export async function applicability(rig: Rig, cases: readonly ConformanceCase[]): Promise<Applicability> {
  const about = await capabilitiesOf(rig);
  const missing = (c: ConformanceCase): readonly Need[] => c.needs.filter((need) => !met(need, rig, about));
  return {
    applicable: cases.filter((c) => missing(c).length === 0),
    notApplicable: cases.filter((c) => missing(c).length > 0).map((c) => ({ name: c.name, needs: missing(c) })),
  };
}

interface Capabilities {
  readonly traits: Traits;
  readonly members: boolean;
}

async function capabilitiesOf(rig: Rig): Promise<Capabilities> {
  const transport = rig.broker().open(testHost());
  const { traits, members } = transport;
  await within(rig.limitMs, "a transport that opened nothing to be disposed of", transport[Symbol.asyncDispose]());
  return { traits, members: members !== null };
}

function met(need: Need, rig: Rig, { traits, members }: Capabilities): boolean {
  switch (need) {
    case "ends":
      return rig.endsWithConnection;
    case "unroutable":
      return traits.unroutable === "reported";
    case "release":
      return traits.release !== "none";
    case "inplace":
      return traits.release !== "delayed";
    case "order":
      return traits.order !== "none";
    case "count":
      return traits.countsDeliveries;
    case "position":
      return traits.position;
    case "members":
      return members;
    case "delay":
      return traits.longestDelay > 0;
    default:
      return rig[need] !== null;
  }
}
