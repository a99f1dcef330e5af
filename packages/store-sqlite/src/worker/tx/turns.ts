// One machine: the turns of a wave, the transaction that they share, and how both are undone.
import { isDeepStrictEqual } from "node:util";
import type { SQLInputValue, StatementSync } from "node:sqlite";
import type { InboxKey } from "@tallymq/core/spi";
import type { Database } from "../file/database.ts";
import { asFault, Fault, SQLITE, sqliteCode } from "../fault.ts";
import type { Answers, Group } from "../group.ts";
import type { Held, Marks } from "../inbox/marks.ts";
import {
  AGAIN,
  type Answer,
  type EnterArgs,
  type LeaveArgs,
  type PutAnswer,
  type PutArgs,
  type Ran,
  type Request,
  type SqlArgs,
  TURN,
  type TurnPutArgs,
} from "../protocol.ts";
import { asStatementFault, Statements } from "./statements.ts";

interface Leave {
  readonly n: number;
  readonly done: boolean;
}

/** What a statement came to: its value, or what it threw. */
type Outcome = { readonly value: unknown; readonly error: null } | { readonly value: null; readonly error: unknown };

/** The turn of a handler: from `enter` to `leave`, in a transaction that it shares with others. */
interface Turn {
  readonly turn: number;
  readonly key: InboxKey;
  readonly fence: number;
  readonly held: Held | null;
  /** Why nothing of it will be written. */
  failed: unknown;
  /** It was told of what is not so any more: its handler has to begin anew. */
  again: boolean;
  /** What it has run, in case that it must be run again, and what came of it. */
  readonly log: { readonly request: Request; readonly outcome: Outcome }[];
  pending: Request[];
  left: Leave | null;
}

/**
 * Handlers take turns on one connection: `enter` (fence) · statements · `leave` (mark, or undone). Turns of one wave come at
 * once, and what they ask travels together; they run as if one came after the other: all statements of a turn lie behind
 * those of the turns before it. So if one of them asks again after others behind it have run, or fails after it wrote, the
 * wave is undone to its savepoint and run again, in order. What comes out the same was true all along; a handler that had
 * been told something else begins anew, alone.
 *
 * The transaction stays open from one wave to the next until `commit`; those who left are answered after it.
 */
export class Turns {
  readonly #db: Database;
  readonly #group: Group;
  readonly #marks: Marks;
  readonly #answers: Answers;
  readonly #put: (args: PutArgs) => () => Answer;
  /** Between two waves: others may write. */
  readonly #between: () => void;
  readonly #statements: Statements;
  readonly #savepoint: StatementSync;
  readonly #release: StatementSync;
  #turns: Turn[] = [];
  /** Of the group's transaction that the wave began in. */
  #generation = 0;
  /** A wave is under way: its savepoint is set, or could not be. */
  #wave = false;
  #held = false;
  /** The transaction is to be committed. */
  #due = false;

  constructor(
    db: Database,
    group: Group,
    marks: Marks,
    answers: Answers,
    put: (args: PutArgs) => () => Answer,
    between: () => void,
  ) {
    this.#db = db;
    this.#group = group;
    this.#marks = marks;
    this.#answers = answers;
    this.#put = put;
    this.#between = between;
    this.#statements = new Statements(db.sql);
    this.#savepoint = db.sql.prepare("SAVEPOINT tally_turn");
    this.#release = db.sql.prepare("RELEASE tally_turn");
  }

  /** Handlers are at it: nothing else may write, since undoing them would undo that as well. */
  get busy(): boolean {
    return this.#wave;
  }

  /** The transaction is open for more turns. */
  get held(): boolean {
    return this.#held;
  }

  handle(request: Request): void {
    const { n, op, args } = request;
    if (op === TURN.enter) return this.#enter(args as EnterArgs);
    if (op === TURN.commit) {
      this.advance();
      this.#held = false;
      // Not at once: what came with it, such as the claims of those who go next, is in the same commit.
      this.#due = true;
      return;
    }
    const [number, done] = args as LeaveArgs;
    const turn = this.#turns.find((each) => each.turn === number);
    if (turn === undefined || turn.left !== null)
      return this.#answers.failed(n, new Fault("store", "this transaction is over"));
    if (op === TURN.leave) turn.left = { n, done };
    else turn.pending.push(request);
  }

  /** Those who left are answered. */
  commit(): void {
    this.#due = false;
    this.#group.commit();
  }

  /** Runs what was asked since, in the order of the turns. */
  advance(): void {
    do {
      if (this.#drop() || this.#overtaken()) this.#redo();
      else for (const turn of this.#turns) this.#run(turn);
    } while (this.#turns.some(isOver));
    if (this.#wave && this.#turns.every(({ left }) => left !== null)) this.#finish();
  }

  /** Nobody answers an `enter`: what is wrong with it is told to whatever the turn asks next. */
  #enter([turn, fence, first, group, topic, producer, id, bodyHash]: EnterArgs): void {
    if (first) this.advance();
    if (this.#due) this.commit();
    const key: InboxKey = { group, topic, producer, id, bodyHash };
    let failed: unknown = null;
    let held: Held | null = null;
    try {
      if (!this.#wave) {
        this.#wave = true;
        this.#generation = -1;
        this.#group.open();
        this.#savepoint.run();
        this.#generation = this.#group.generation;
      }
      // The wave's first could not begin it, or it ended since: what is written now would stand by itself, without a mark.
      if (!this.#alive) throw overFault();
      // The same claim twice in a wave: its mark is not written yet.
      held = this.#turns.some((other) => other.fence === fence) ? null : this.#marks.held(key, fence);
      if (held === null) failed = new Fault("fenced", "the claim ran out, and somebody else has it");
    } catch (error) {
      failed = asFault(error, this.#db.path);
      this.#broken(error);
    }
    this.#held = true;
    this.#turns.push({ turn, key, fence, held, failed, again: false, log: [], pending: [], left: null });
  }

  /** Takes out those who left and of whom nothing stays. @returns true if what they did has to be undone. */
  #drop(): boolean {
    const over = this.#turns.filter(isOver);
    if (over.length === 0) return false;
    this.#turns = this.#turns.filter((turn) => !isOver(turn));
    for (const { left, failed, again, pending } of over) {
      for (const { n } of pending) this.#answers.failed(n, new Fault("store", "this transaction is over"));
      if (failed !== null) this.#answers.failed(left?.n ?? 0, failed);
      else this.#answers.ok(left?.n ?? 0, { value: again ? AGAIN : null });
    }
    return over.some(({ log }) => log.length > 0);
  }

  /** Whether somebody asks in front of one who has run something. */
  #overtaken(): boolean {
    const last = this.#turns.findLastIndex(({ log }) => log.length > 0);
    return this.#turns.some(({ pending }, at) => at < last && pending.length > 0);
  }

  /** The wave from its beginning, each turn with what it asked before and what it asks now. */
  #redo(): void {
    if (this.#alive) this.#db.sql.exec("ROLLBACK TO tally_turn");
    else this.#over();
    for (const turn of this.#turns) {
      for (const { request, outcome } of turn.log.splice(0)) {
        const now = this.#outcome(turn, request);
        turn.log.push({ request, outcome: now });
        if (!isDeepStrictEqual(now, outcome)) turn.again = true;
      }
      if (turn.again && turn.log.length > 0) {
        // Undone with all that it has just written.
        turn.log.length = 0;
        return this.#redo();
      }
      this.#run(turn);
    }
  }

  #run(turn: Turn): void {
    for (const request of turn.pending.splice(0)) {
      const { n } = request;
      if (turn.failed !== null) this.#answers.failed(n, turn.failed);
      else if (turn.again)
        this.#answers.failed(
          n,
          new Fault("store", "this handler is begun anew: others were undone", { retryable: true }),
        );
      else {
        const outcome = this.#outcome(turn, request);
        turn.log.push({ request, outcome });
        if (outcome.error === null) this.#answers.ok(n, { value: outcome.value });
        else this.#answers.failed(n, outcome.error);
      }
    }
  }

  #outcome(turn: Turn, { op, args }: Request): Outcome {
    try {
      // SQLite would run it all the same, in a transaction of its own.
      if (!this.#alive) throw overFault();
      const value =
        op === TURN.put
          ? (this.#put((args as TurnPutArgs)[1])().value as PutAnswer).codes
          : this.#statement(turn, args as SqlArgs);
      return { value, error: null };
    } catch (error) {
      this.#broken(error, turn);
      return { value: null, error: asStatementFault(error) };
    }
  }

  #statement(turn: Turn, [, how, text, params]: SqlArgs): unknown {
    const statement = this.#statements.of(text);
    const result = Array.isArray(params)
      ? statement[how](...(params as SQLInputValue[]))
      : statement[how](params as Record<string, SQLInputValue>);
    // OR ROLLBACK and RAISE(ROLLBACK) succeed in ending everybody's transaction.
    if (!this.#db.sql.isTransaction)
      this.#broken(new Fault("store", "a handler's statement ended the transaction that it shares"), turn);
    if (how !== "run") return result;
    const { changes, lastInsertRowid } = result as ReturnType<StatementSync["run"]>;
    return [changes, lastInsertRowid] satisfies Ran;
  }

  /** SQLite gave up the whole transaction, as it does for a full disk: all who shared it are told. */
  #broken(error: unknown, turn: Turn | null = null): void {
    const dead = !this.#db.sql.isTransaction;
    if (!dead && sqliteCode(error) !== SQLITE.ioerr) return;
    const fault = asFault(error, this.#db.path);
    for (const each of this.#turns) each.failed ??= fault;
    if (turn !== null) turn.failed ??= fault;
    this.#group.fail(fault);
  }

  /** The wave's transaction is gone, and with it what everybody in it has run. */
  #over(): void {
    for (const turn of this.#turns) {
      turn.failed ??= overFault();
      turn.log.length = 0;
    }
  }

  /** The transaction that the wave began in is still there. */
  get #alive(): boolean {
    return this.#generation === this.#group.generation && this.#db.sql.isTransaction;
  }

  /** All have left, and those who are still here are done: their marks, and their answers after the commit. */
  #finish(): void {
    const turns = this.#turns;
    this.#turns = [];
    this.#wave = false;
    try {
      if (turns.length > 0 && !this.#alive) throw overFault();
      for (const { held, key } of turns) if (held !== null) this.#marks.endHeld(held, key, { is: "done" });
      if (turns.length > 0 || this.#alive) this.#release.run();
      for (const { left } of turns) this.#group.add({ n: left?.n ?? 0, run: once() });
    } catch (error) {
      const fault = asFault(error, this.#db.path);
      for (const { left } of turns) this.#answers.failed(left?.n ?? 0, fault);
      this.#group.fail(fault);
    }
    this.#between();
  }
}

const overFault = (): Fault =>
  new Fault("store", "the transaction that this handler shared is over; nothing of it was written", {
    retryable: true,
  });

/** In a transaction that had to be begun anew there would be a mark without its effect. */
function once(): () => Answer {
  let ran = false;
  return () => {
    if (ran)
      throw new Fault("store", "the transaction could not be committed; the effect is undone", { retryable: true });
    ran = true;
    return { value: null };
  };
}

/** It left, and nothing of it stays. */
function isOver({ left, failed, again }: Turn): boolean {
  return left !== null && (failed !== null || again || !left.done);
}
