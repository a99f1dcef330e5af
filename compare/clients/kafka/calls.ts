import type { KafkaPublisher, KafkaRecord } from "./client.ts";

interface Call {
  readonly records: KafkaRecord[];
  readonly answer: Promise<unknown>;
}

/** For clients whose call takes a list: what is published in one turn of the loop is one call, of so many at most. */
export function inCalls(
  most: number,
  send: (records: readonly KafkaRecord[]) => Promise<unknown>,
  close: () => Promise<unknown>,
): KafkaPublisher {
  let filling: Call | null = null;
  const begin = (): Call => {
    const records: KafkaRecord[] = [];
    const call: Call = {
      records,
      answer: new Promise((resolve) => setImmediate(resolve)).then(() => {
        if (filling === call) filling = null;
        return send(records);
      }),
    };
    return call;
  };
  return {
    publish(record) {
      if (most === 1) return send([record]);
      const call = (filling ??= begin());
      if (call.records.push(record) === most) filling = null;
      return call.answer;
    },
    [Symbol.asyncDispose]: async () => void (await close()),
  };
}
