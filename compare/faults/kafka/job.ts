import type { PublishingJob } from "../../../integration-tests/workload/publishing.ts";
import type { KafkaPlace } from "../../clients/kafka/client.ts";

/** What a client's process is told when it starts. */
export interface KafkaJob extends PublishingJob {
  readonly role: "publisher";
  readonly client: string;
  readonly place: KafkaPlace;
  readonly keyed: boolean;
}
