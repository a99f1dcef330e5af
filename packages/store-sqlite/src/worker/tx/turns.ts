import type { SQLInputValue, StatementSync } from "node:sqlite";
import type { InboxKey } from "@tallymq/core/spi";
import type { Database } from "../file/database.ts";
import { asFault, Fault, SQLITE, sqliteCode } from "../fault.ts";
import type { Answers, Group } from "../group.ts";
import type { Held, Marks } from "../inbox/marks.ts";
import type { Answer, PutArgs, Request } from "../protocol.ts";
import { asStatementFault, Statements } from "./statements.ts";

export type Params = readonly SQLInputValue[] | Readonly<Record<string, SQLInputValue>>;
export interface EnterArgs {
  readonly turn: number;
  readonly key: InboxKey;
  readonly fence: number;
}
export interface SqlArgs {
  readonly turn: number;
  readonly how: "all" | "get" | "run";
  readonly text: string;
  readonly params: Params;
}

/** The turn of a handler: from its savepoint to the release of it, in a transaction that it shares with others. */
interface Turn extends EnterArgs {
  /** Of the group's transaction that it began in. */
  readonly generation: number;
  readonly held: Held | null;
  /** Why nothing of it will be written. */
  failed: unknown;
}

/**
 * Handlers take turns on one connection: `enter` (savepoint, fence) · statements · `leave` (mark, release, or undone).
 * The transaction stays open from one turn to the next until `commit`; those who left are answered after it.
 */
export class Turns {
  readonly #db: Database;
  readonly #group: Group;
  readonly #marks: Marks;
  readonly #answers: Answers;
  readonly #put: (args: PutArgs) => () => Answer;
  readonly #statements: Statements;
  readonly #savepoint: StatementSync;
  readonly #release: StatementSync;
  #turn: Turn | null = null;
  #held = false;

  constructor(db: Database, group: Group, marks: Marks, answers: Answers, put: (args: PutArgs) => () => Answer) {
    this.#db = db;
    this.#group = group;
    this.#marks = marks;
    this.#answers = answers;
    this.#put = put;
    this.#statements = new Statements(db.sql);
    this.#savepoint = db.sql.prepare("SAVEPOINT tally_turn");
    this.#release = db.sql.prepare("RELEASE tally_turn");
  }

  /** A handler is at it: nothing else may write, since undoing it would undo that as well. */
  get busy(): boolean {
    return this.#turn !== null;
  }

  /** The transaction is open for more turns. */
  get held(): boolean {
    return this.#held;
  }

  handle({ n, op, args }: Request): void {
    switch (op) {
      case "turn.enter":
        return this.#enter(args as EnterArgs);
      case "turn.sql":
        return this.#inTurn(n, args as SqlArgs, (turn) => this.#run(turn, args as SqlArgs));
      case "turn.put":
        return this.#inTurn(n, args as { turn: number }, () => this.#put((args as { pack: PutArgs }).pack)());
      case "turn.leave":
        return this.#leave(n, args as { turn: number; done: boolean });
      default:
        this.#held = false;
        this.#group.commit();
    }
  }

  /** Nobody answers an `enter`: what is wrong with it is told to whatever the turn asks next. */
  #enter(args: EnterArgs): void {
    let failed: unknown = null;
    let held: Held | null = null;
    try {
      this.#group.open();
      this.#savepoint.run();
      held = this.#marks.held(args.key, args.fence);
      if (held === null) failed = new Fault("fenced", "the claim ran out, and somebody else has it");
    } catch (error) {
      failed = asFault(error, this.#db.path);
      this.#broken(error);
    }
    this.#held = true;
    this.#turn = { ...args, generation: this.#group.generation, held, failed };
  }

  #inTurn(n: number, { turn: number }: { readonly turn: number }, work: (turn: Turn) => Answer): void {
    const turn = this.#turn;
    if (turn === null || turn.turn !== number)
      return this.#answers.failed(n, new Fault("store", "this transaction is over"));
    if (turn.failed !== null) return this.#answers.failed(n, turn.failed);
    try {
      this.#answers.ok(n, work(turn));
    } catch (error) {
      this.#answers.failed(n, asStatementFault(error));
      this.#broken(error);
    }
  }

  #run(turn: Turn, { how, text, params }: SqlArgs): Answer {
    const statement = this.#statements.of(text);
    const result = Array.isArray(params)
      ? statement[how](...(params as SQLInputValue[]))
      : statement[how](params as Record<string, SQLInputValue>);
    // OR ROLLBACK and RAISE(ROLLBACK) succeed in ending everybody's transaction.
    if (!this.#db.sql.isTransaction)
      this.#broken(new Fault("store", "a handler's statement ended the transaction that it shares"), turn);
    return { value: result };
  }

  /** SQLite gave up the whole transaction, as it does for a full disk: all who shared it are told. */
  #broken(error: unknown, turn: Turn | null = this.#turn): void {
    const dead = !this.#db.sql.isTransaction;
    if (!dead && sqliteCode(error) !== SQLITE.ioerr) return;
    const fault = asFault(error, this.#db.path);
    if (turn !== null) turn.failed ??= fault;
    this.#group.fail(fault);
  }

  #leave(n: number, { turn: number, done }: { readonly turn: number; readonly done: boolean }): void {
    const turn = this.#turn;
    if (turn === null || turn.turn !== number)
      return this.#answers.failed(n, new Fault("store", "this transaction is over"));
    this.#turn = null;
    try {
      if (turn.failed === null && turn.held !== null && done) {
        // The fence held at the start, and nobody can have claimed since: the write lock is ours.
        this.#marks.endHeld(turn.held, turn.key, { is: "done" });
        this.#release.run();
        let ran = false;
        // In a transaction that had to be begun anew there would be a mark without its effect.
        const run = (): Answer => {
          if (ran)
            throw new Fault("store", "the transaction could not be committed; the effect is undone", {
              retryable: true,
            });
          ran = true;
          return { value: null };
        };
        this.#group.add({ n, run });
        return;
      }
      if (turn.generation === this.#group.generation && this.#db.sql.isTransaction)
        this.#db.sql.exec("ROLLBACK TO tally_turn; RELEASE tally_turn");
      if (turn.failed !== null) this.#answers.failed(n, turn.failed);
      else this.#answers.ok(n, { value: null });
    } catch (error) {
      this.#answers.failed(n, asFault(error, this.#db.path));
      this.#group.fail(error);
    }
  }
}
