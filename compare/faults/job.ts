import type { PublishingJob } from "../../integration-tests/workload/publishing.ts";
import type { Place } from "../clients/client.ts";

/** What a client's process is told when it starts. */
export interface Job extends PublishingJob {
  readonly role: "publisher";
  readonly broker: string;
  readonly client: string;
  readonly place: Place;
}
