/** Publishes one message; settles when it is confirmed. */
export type PublishOne = (n: number) => Promise<unknown>;

/** Keeps `window` messages without a confirm until `messages` are confirmed; gives how many were. */
export async function publishWindow(
  publish: PublishOne,
  from: number,
  messages: number,
  window: number,
): Promise<number> {
  let next = from;
  let confirmed = 0;
  const end = from + messages;
  const lane = async (): Promise<void> => {
    while (next < end) {
      await publish(next++);
      confirmed++;
    }
  };
  await Promise.all(Array.from({ length: window }, lane));
  return confirmed;
}

export function bodyOf(bytes: number): Uint8Array {
  return new Uint8Array(bytes).fill(120);
}

/** An object that JSON writes in about `bytes` bytes. */
export function jsonOf(bytes: number): object {
  const shell = { customer: "c-000001", currency: "EUR", amount: 129_90, lines: [{ sku: "A-1", n: 2 }], note: "" };
  return { ...shell, note: "x".repeat(Math.max(0, bytes - JSON.stringify(shell).length)) };
}
