import { describe, TallyError } from "@tallymq/core/spi";

/** Where the management API is; credentials never leave this object but in the request. */
export interface ManagementSettings {
  /** Without credentials, without a slash at its end. */
  readonly url: string;
  readonly authorization: string;
}

/** A listing larger than this is given up: an audit must not fill the memory of a service. */
const MOST_BYTES = 4 * 1024 * 1024;

/** The management API over HTTP: reads only. */
export class Management {
  readonly #settings: ManagementSettings;

  constructor(settings: ManagementSettings) {
    this.#settings = settings;
  }

  /** @returns null: there is no such thing @throws TallyError `unreachable`, `unauthorized`; never names credentials */
  async get(path: string, signal: AbortSignal): Promise<unknown> {
    const { url, authorization } = this.#settings;
    let response: Response;
    try {
      // A redirect would take the credentials elsewhere.
      response = await fetch(`${url}/api${path}`, {
        headers: { authorization, accept: "application/json" },
        redirect: "error",
        signal,
      });
    } catch (thrown) {
      signal.throwIfAborted();
      const cause: unknown = thrown instanceof Error && thrown.cause !== undefined ? thrown.cause : thrown;
      throw new TallyError("unreachable", `${url}: ${describe(cause)}`, { retryable: true });
    }
    if (response.status === 404) {
      await response.body?.cancel();
      return null;
    }
    if (!response.ok) {
      await response.body?.cancel();
      const code = response.status === 401 || response.status === 403 ? "unauthorized" : "unreachable";
      throw new TallyError(code, `${url} answers ${response.status} to ${path.split("?")[0]}`);
    }
    return parse(url, await text(url, response));
  }
}

function parse(url: string, given: string): unknown {
  try {
    return JSON.parse(given) as unknown;
  } catch {
    throw new TallyError("unreachable", `${url} does not answer as RabbitMQ's management API does`);
  }
}

async function text(url: string, { body }: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  // Leaving the loop cancels what is still to come.
  for await (const piece of (body ?? []) as AsyncIterable<Uint8Array>) {
    length += piece.byteLength;
    if (length > MOST_BYTES) throw new TallyError("unreachable", `${url} answers with more than ${MOST_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}
