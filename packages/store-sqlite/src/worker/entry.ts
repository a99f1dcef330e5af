// The worker thread: one store, one connection. `workerData` is OpenArgs. It drains its port until that is empty, commits once, and
// posts one list of replies: group commit without a timer, and no wait for one who is alone.
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { asFault, sqliteErrorOf } from "./fault.ts";
import { openStore } from "./file/open.ts";
import { PACKS_SINCE } from "./file/stamp.ts";
import type { Answers } from "./group.ts";
import { inboxRoom } from "./inbox/room.ts";
import { kindOf } from "./kinds.ts";
import { outboxRoom } from "./outbox/operations.ts";
import { type Failure, type OpenArgs, type PutArgs, REPLY, type Request, type Requests, WIDTH } from "./protocol.ts";
import { Pump } from "./pump.ts";
import { vacuumStep } from "./vacuum.ts";

/** A commit takes no more than about this much: its pages stay in memory until then. */
const COMMIT_BYTES = 8 * 1024 * 1024;
/**
 * And no more than about half of what its callers wait for, so that they fill the other half while this one is on its way to
 * the disk; but this much in any case, since a commit has a price of its own.
 */
const LEAST_BYTES = 64 * 1024;

function serve(port: MessagePort, args: OpenArgs): void {
  let replies: unknown[] = [];
  let transfers: ArrayBuffer[] = [];
  const flush = (): void => {
    if (replies.length === 0) return;
    if (transfers.length > 0) port.postMessage(replies, transfers);
    else port.postMessage(replies);
    [replies, transfers] = [[], []];
  };
  const surfaced = (what: string): void => {
    replies.push(-1, REPLY.surfaced, what);
  };
  const answers: Answers = {
    ok(n, { value, transfer }) {
      replies.push(n, REPLY.value, value);
      if (transfer !== undefined) transfers.push(...transfer);
    },
    failed(n, error) {
      const { code, message, retryable, mayArrive, cause } = asFault(error, args.path);
      const failure = { code, message, retryable, mayArrive, sqlite: sqliteErrorOf(cause) } satisfies Failure;
      replies.push(n, REPLY.failure, failure);
    },
  };

  let opened;
  let rooms;
  try {
    opened = openStore(args, kindOf(args.kind), surfaced);
    const { db, format } = opened;
    const inbox = args.kind === "inbox" ? inboxRoom(db, args, surfaced) : null;
    rooms = { outbox: outboxRoom(db, inbox === null ? null : args.maxBytes, format >= PACKS_SINCE, surfaced), inbox };
    answers.ok(0, { value: { id: opened.id } });
  } catch (error) {
    answers.failed(0, error);
    flush();
    opened?.close();
    port.close();
    return;
  }
  flush();
  const { db, close } = opened;
  const pump = new Pump(db, answers, rooms.outbox, rooms.inbox);

  const round = (first: Requests): void => {
    let deleted = false;
    for (let list: Requests | undefined = first; list !== undefined;) {
      let [bytes, enough] = [0, COMMIT_BYTES];
      for (; list !== undefined && bytes < enough; list = next(port)) {
        for (let at = 0; at < list.length; at += WIDTH) {
          const request: Request = { n: list[at] as number, op: list[at + 1] as Request["op"], args: list[at + 2] };
          if (request.op === "close") {
            pump.settle();
            rooms.outbox.close();
            close();
            answers.ok(request.n, { value: null });
            flush();
            port.close();
            return;
          }
          if (request.op === "put") {
            const { used, waiting } = request.args as PutArgs;
            bytes += used;
            enough = Math.min(COMMIT_BYTES, Math.max(LEAST_BYTES, waiting / 2));
          }
          pump.take(request);
        }
      }
      deleted = pump.settle() || deleted;
      flush();
    }
    if (deleted && rooms.inbox === null) setImmediate(vacuum);
  };
  const vacuum = (): void => {
    try {
      if (vacuumStep(db, rooms.outbox.isEmpty())) setImmediate(vacuum);
    } catch {
      // Somebody else writes: the next round of deletes asks again.
    }
  };
  port.on("message", round);
}

function next(port: MessagePort): Requests | undefined {
  return (receiveMessageOnPort(port) as { message: Requests } | undefined)?.message;
}

if (parentPort !== null) serve(parentPort, workerData as OpenArgs);
