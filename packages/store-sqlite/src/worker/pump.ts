import { type Answers, Group } from "./group.ts";
import { asFault } from "./fault.ts";
import type { Database } from "./file/database.ts";
import type { InboxRoom } from "./inbox/room.ts";
import type { OutboxRoom } from "./outbox/operations.ts";
import type { Now, Operations, PutArgs, Request } from "./protocol.ts";
import { Turns } from "./tx/turns.ts";

/**
 * What came in one drain of the port is one commit: writes first, then what the relay deletes and parks, then looks, which
 * see all of that. While handlers share a transaction it stays open, and the rest waits for its commit.
 */
export class Pump {
  readonly #db: Database;
  readonly #answers: Answers;
  readonly #outbox: OutboxRoom;
  readonly #inbox: InboxRoom | null;
  readonly #operations: Operations;
  readonly #writes: Group;
  /** The same as `#writes` where the file also holds effects: those must not be less durable for sharing a commit. */
  readonly #relay: Group;
  readonly #turns: Turns | null;
  #relayJobs: Request[] = [];
  #reads: Request[] = [];
  /** Came while handlers were at it. */
  #waiting: Request[] = [];

  constructor(db: Database, answers: Answers, outbox: OutboxRoom, inbox: InboxRoom | null) {
    this.#db = db;
    this.#answers = answers;
    this.#outbox = outbox;
    this.#inbox = inbox;
    this.#operations = { ...outbox.operations, ...inbox?.operations };
    this.#writes = new Group(db, "acked", answers, () => {
      outbox.begun();
      inbox?.begun();
    });
    this.#relay = inbox === null ? new Group(db, "relay", answers) : this.#writes;
    this.#turns =
      inbox === null
        ? null
        : new Turns(
            db,
            this.#writes,
            inbox.marks,
            answers,
            (args) => outbox.put(args),
            () => {
              for (const waited of this.#waiting.splice(0)) this.#dispatch(waited);
            },
          );
  }

  take(request: Request): void {
    const turns = this.#turns;
    const now = (request.args as { now?: Now } | null)?.now;
    if (now !== undefined) this.#inbox?.at(now);
    if (turns !== null && typeof request.op === "number") turns.handle(request);
    else if (turns?.busy === true) this.#waiting.push(request);
    else this.#dispatch(request);
  }

  /** @returns true if rows were deleted: there may be pages to give back. */
  settle(): boolean {
    this.#turns?.advance();
    if (this.#turns?.held === true) return false;
    const deleted = this.#relayJobs.length > 0;
    if (this.#relay !== this.#writes) this.#writes.commit();
    for (const request of this.#relayJobs.splice(0))
      this.#relay.add({ n: request.n, run: () => this.#operation(request) });
    if (this.#turns === null) this.#relay.commit();
    else this.#turns.commit();
    for (const request of this.#reads.splice(0)) {
      try {
        this.#answers.ok(request.n, this.#operation(request));
      } catch (error) {
        this.#answers.failed(request.n, asFault(error, this.#db.path));
      }
    }
    return deleted;
  }

  #dispatch(request: Request): void {
    if (request.op === "put") {
      this.#writes.add({ n: request.n, run: this.#outbox.put(request.args as PutArgs) });
      return;
    }
    switch (this.#operations[request.op as string]?.phase) {
      case "write":
        return this.#writes.add({ n: request.n, run: () => this.#operation(request) });
      case "relay":
        this.#relayJobs.push(request);
        return;
      default:
        this.#reads.push(request);
    }
  }

  #operation({ op, args }: Request): ReturnType<Operations[string]["run"]> {
    const operation = this.#operations[op as string];
    if (operation === undefined) throw new Error(`no such operation: ${op}`);
    return operation.run(args);
  }
}
