import { describe, TallyError } from "../error.ts";
import type { Attempt } from "./attempt.ts";
import type { ConsumerPolicy } from "./options.ts";

/**
 * Fills in the id of a foreign message by the consumer's own function, where it has one.
 * @throws TallyError `decode`
 */
export function identify(idOf: ConsumerPolicy["id"], attempt: Attempt): void {
  const { job } = attempt;
  if (job.id !== null || idOf === null) return;
  const where = `handler of ${attempt.group} for ${job.subscription.topic.name}: id() of the consumer`;
  let id: unknown;
  try {
    id = idOf(attempt);
  } catch (thrown) {
    throw new TallyError("decode", `${where} failed: ${describe(thrown)}`, { cause: thrown });
  }
  if (typeof id !== "string" || id === "") throw new TallyError("decode", `${where} gave no string`);
  job.id = id;
}
