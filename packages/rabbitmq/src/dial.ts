import { type Clock, type Random, TallyError, textOf, type Timer } from "@tallymq/core/spi";
import type { Endpoint } from "./endpoint.ts";

export interface DialPorts<T> {
  readonly clock: Clock;
  /** One endpoint may take so long, in milliseconds. */
  readonly within: number;
  open(endpoint: Endpoint, signal: AbortSignal): Promise<T>;
  /** Opened after another one was faster, or after nobody waits any more. */
  unwanted(opened: T): void;
  /** This endpoint did not open. */
  failed(endpoint: Endpoint): void;
}

/** Milliseconds: an endpoint that says nothing for so long has the next one started beside it. */
const NEXT_AFTER = 1_000;

/**
 * One try to reach a cluster: its endpoints in this order, the next one as soon as one has failed or has been silent for a
 * second; the first that opens ends the others. So a node that is down costs nothing, one that swallows packets a second.
 *
 * It is one try, and core's back-off stands between two of them: no endpoint is dialled twice here.
 * @throws TallyError when all have failed, naming each; the signal's reason
 */
export function dial<T>(endpoints: readonly Endpoint[], ports: DialPorts<T>, signal: AbortSignal): Promise<T> {
  const { clock, within } = ports;
  return new Promise((resolve, reject) => {
    const errors: (TallyError | undefined)[] = [];
    const tries: Set<AbortController> = new Set();
    let begun = 0;
    let over = false;
    let next: Timer | null = null;

    const end = (reason: unknown): void => {
      over = true;
      next?.cancel();
      signal.removeEventListener("abort", onAbort);
      for (const one of tries) one.abort(reason);
    };
    const onAbort = (): void => {
      end(signal.reason);
      reject(signal.reason);
    };
    const begin = (): void => {
      next?.cancel();
      const at = begun++;
      const endpoint = endpoints[at]!;
      const one = new AbortController();
      tries.add(one);
      const late = clock.after(within, () =>
        one.abort(
          new TallyError("unreachable", `${endpoint.shown}: no answer within ${within} ms`, { retryable: true }),
        ),
      );
      next = begun < endpoints.length ? clock.after(NEXT_AFTER, begin) : null;
      const settled = (): void => {
        late.cancel();
        tries.delete(one);
      };
      ports.open(endpoint, one.signal).then(
        (opened) => {
          settled();
          if (over) return ports.unwanted(opened);
          end(new TallyError("closed", "another node was faster"));
          resolve(opened);
        },
        (thrown: unknown) => {
          settled();
          if (over) return;
          errors[at] = thrown as TallyError;
          ports.failed(endpoint);
          if (begun < endpoints.length) return begin();
          if (tries.size > 0) return;
          end(null);
          reject(allFailed(errors as TallyError[]));
        },
      );
    };

    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    begin();
  });
}

/** If waiting can mend one of them, waiting can mend it. */
function allFailed(errors: readonly TallyError[]): TallyError {
  const telling = errors.find((error) => error.retryable) ?? errors[0]!;
  if (errors.length === 1) return telling;
  const each = errors.map(textOf);
  return new TallyError(telling.code, `none of ${errors.length} nodes: ${each.join("; ")}`, {
    retryable: telling.retryable,
    cause: new AggregateError(errors.map((error) => error.cause ?? error)),
  });
}

/** Each order is as likely as any other; those to be put last come after all others. */
export function shuffled(
  endpoints: readonly Endpoint[],
  last: ReadonlySet<Endpoint>,
  random: Random,
): readonly Endpoint[] {
  const all = [...endpoints];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(random.unit() * (i + 1));
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return [...all.filter((one) => !last.has(one)), ...all.filter((one) => last.has(one))];
}
