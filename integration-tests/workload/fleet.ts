import { type ChildProcess, fork } from "node:child_process";
import { openSync, closeSync } from "node:fs";
import { join } from "node:path";
import type { Incarnation } from "@tallymq/testkit/ledger";
import { NODE_FLAGS } from "./node-flags.ts";
import { type FromMember, type MemberJob, NOTHING, type Status, type ToMember } from "./member.ts";

/** Types stripped and code compiled once: without it most of what a short-lived process does is to start. */
const COMPILED = join(import.meta.dirname, "..", "..", "node_modules", ".cache", "members");

/** The outer end of one workload process. */
export class Member<Job extends MemberJob> {
  readonly job: Job;
  /** Resolves when it is ready to work; rejects when it ends before. */
  readonly ready: Promise<void>;
  /** Resolves when the process is gone: null if it ended well, was killed by us or by its own `crash`, else what was wrong. */
  readonly ended: Promise<string | null>;
  status: Status = NOTHING;
  readonly #child: ChildProcess;
  #running = true;
  #killed = false;
  #crashed = false;
  #error: string | null = null;

  /**
   * @param program its file
   * @param logs folder for what it prints
   */
  constructor(job: Job, program: string, logs: string) {
    this.job = job;
    const log = openSync(join(logs, `${job.proc}.${job.epoch}.log`), "w");
    // A test runner's own flags and loaders are no business of ours.
    const { NODE_OPTIONS: _, ...env } = process.env;
    this.#child = fork(program, [JSON.stringify(job)], {
      execArgv: [...NODE_FLAGS],
      env: { ...env, NODE_COMPILE_CACHE: COMPILED },
      stdio: ["ignore", log, log, "ipc"],
    });
    closeSync(log);

    const ready = Promise.withResolvers<void>();
    this.ready = ready.promise;
    this.ready.catch(() => {}); // a run that is given up awaits nobody's readiness
    this.#child.on("message", (message: FromMember) => {
      if (message.type === "ready") ready.resolve();
      else if (message.type === "failed") this.#error = message.error;
      else this.status = message.status;
    });
    this.ended = new Promise((resolve) => {
      // `close` comes after the last message was read, `exit` may come before.
      this.#child.once("close", (code, signal) => {
        this.#running = false;
        this.status = { ...this.status, inFlight: 0, pressed: false, relays: false };
        this.#crashed = job.crash !== null && !this.#killed && signal === "SIGKILL";
        const how = this.#error ?? (signal === null ? `exit code ${code}` : signal);
        ready.reject(new Error(`${job.proc} ended before it was ready: ${how}`));
        const well = this.#killed || this.#crashed || (code === 0 && this.#error === null);
        resolve(well ? null : `${job.proc} ended by itself: ${how}`);
      });
      this.#child.once("error", (error) => {
        if (this.#child.pid !== undefined) return;
        this.#running = false;
        ready.reject(error);
        resolve(error.message);
      });
    });
  }

  get incarnation(): Incarnation {
    return { proc: this.job.proc, epoch: this.job.epoch };
  }

  get running(): boolean {
    return this.#running;
  }

  /** It has killed itself with -9, as its job told it. */
  get crashed(): boolean {
    return this.#crashed;
  }

  tell(message: ToMember): void {
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /** kill -9; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#killed = true;
    if (this.#running) this.#child.kill("SIGKILL");
    await this.ended;
  }
}

/** All processes of a run. */
export class Fleet<Job extends MemberJob> implements AsyncDisposable {
  readonly members: Member<Job>[] = [];
  readonly #program: (role: Job["role"]) => string;
  readonly #logs: string;
  readonly #failed: (reason: string) => void;

  /**
   * @param program the file of a role's program
   * @param failed called when a process ends that should not have
   */
  constructor(program: (role: Job["role"]) => string, logs: string, failed: (reason: string) => void) {
    this.#program = program;
    this.#logs = logs;
    this.#failed = failed;
  }

  start(job: Job): Member<Job> {
    const member = new Member(job, this.#program(job.role), this.#logs);
    this.members.push(member);
    void member.ended.then((wrong) => {
      if (wrong !== null) this.#failed(wrong);
    });
    return member;
  }

  of(role: Job["role"]): readonly Member<Job>[] {
    return this.members.filter(({ job }) => job.role === role);
  }

  /** The process of this name that lives, or lived last. */
  last(proc: string): Member<Job> {
    return this.members.findLast(({ job }) => job.proc === proc)!;
  }

  /** The same process in its next life, which has its own mistakes no more. */
  async replace(dead: Member<Job>, change: Partial<Job>): Promise<Member<Job>> {
    const successor = this.start({ ...dead.job, crash: null, ...change, epoch: dead.job.epoch + 1 });
    await successor.ready;
    return successor;
  }

  /** Summed over a role, the dead included. */
  sum(role: Job["role"], field: "invoked" | "accepted" | "rejected" | "resends" | "spilled" | "inFlight"): number {
    return this.of(role).reduce((sum, { status }) => sum + status[field], 0);
  }

  /** Lets them finish; who has not ended by then is killed, and its ledger without an end tells the judge. */
  async stop(role: Job["role"], within: number): Promise<void> {
    const running = this.of(role).filter((member) => member.running);
    for (const member of running) member.tell({ type: "stop" });
    const timer = setTimeout(() => void Promise.all(running.map((member) => member.kill())), within);
    await Promise.all(running.map(({ ended }) => ended));
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.members.filter(({ running }) => running).map((member) => member.kill()));
  }
}
