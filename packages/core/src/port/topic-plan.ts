/** A topic as the broker should have it. */
export interface TopicPlan {
  readonly name: string;
  readonly ordered: boolean;
  /** Groups whose copy must exist before anything is published. */
  readonly groups: readonly string[];
}
