import { describe, TallyError } from "./error.ts";
import { inflated } from "./compress/inflate.ts";
import type { Incoming } from "./message.ts";
import { describeIssues, type SchemaResult } from "./schema.ts";
import type { Topic } from "./topic.ts";

/**
 * What the handler gets: decoded, then validated, and the schema's output. A promise only if the schema is asynchronous.
 * @param plain The message's body, not compressed any more.
 * @throws TallyError `decode` or `schema`, or rejects with it; neither quotes the body.
 */
export function readBody(topic: Topic<never, unknown>, plain: Uint8Array): unknown {
  const body = decode(topic, plain);
  return topic.schema === null ? body : validate(topic, body);
}

/** The same of a whole message, for whoever can wait. */
export async function readMessage(
  topic: Topic<never, unknown>,
  message: Pick<Incoming, "body" | "contentEncoding">,
): Promise<unknown> {
  return await readBody(topic, await inflated(topic, message));
}

function decode(topic: Topic<never, unknown>, bytes: Uint8Array): unknown {
  try {
    return topic.codec.decode(bytes);
  } catch (thrown) {
    if (TallyError.is(thrown) && thrown.code === "decode") throw thrown;
    // A codec of the user's own may throw anything.
    throw new TallyError("decode", `${topic.name}: the codec could not read the body (${bytes.length} bytes)`, {
      cause: thrown,
    });
  }
}

function validate(topic: Topic<never, unknown>, body: unknown): unknown {
  try {
    const result = topic.schema!["~standard"].validate(body);
    if (!("then" in result)) return output(topic, result);
    return Promise.resolve(result).then(
      (given) => output(topic, given),
      (thrown: unknown) => {
        throw schemaThrew(topic, thrown);
      },
    );
  } catch (thrown) {
    throw TallyError.is(thrown) ? thrown : schemaThrew(topic, thrown);
  }
}

function output(topic: Topic<never, unknown>, result: SchemaResult<unknown>): unknown {
  if (result.issues === undefined) return result.value;
  throw new TallyError(
    "schema",
    `${topic.name}: the body does not satisfy the schema: ${describeIssues(result.issues)}`,
  );
}

function schemaThrew(topic: Topic<never, unknown>, thrown: unknown): TallyError {
  return new TallyError("schema", `${topic.name}: the schema itself failed: ${describe(thrown)}`, { cause: thrown });
}
