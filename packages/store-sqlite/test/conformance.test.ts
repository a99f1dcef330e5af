import { conformStore } from "@tallymq/testkit/conformance";
import { describe, expect, it } from "vitest";
import { sqliteRig } from "./rig.ts";

const notApplicable = conformStore({ describe, it }, sqliteRig());

it("every case says something about SQLite", () => {
  expect(notApplicable).toEqual([]);
});
