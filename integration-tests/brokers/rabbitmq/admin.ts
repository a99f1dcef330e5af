import type { BrokerContainer } from "../engine/container.ts";
import { until } from "../engine/wait.ts";
import { DEFAULT_DISK_LIMIT, DEFAULT_MEMORY_WATERMARK } from "./config.ts";
import { open } from "./handshake.ts";

const LEADER_ANSWER_MS = 200;

export type Alarm = "memory" | "disk";

export interface QueueInfo {
  readonly name: string;
  readonly type: string;
  /** Of one connection, which alone may ask for it. */
  readonly exclusive: boolean;
  readonly messages: number;
  readonly ready: number;
  readonly unacknowledged: number;
  readonly consumers: number;
  /** Erlang name of the leading node, `rabbit@host`; empty for a queue that is down. */
  readonly leader: string;
}

export interface PolicyPlan {
  readonly name: string;
  readonly pattern: string;
  readonly definition: Readonly<Record<string, unknown>>;
  readonly applyTo?: "all" | "queues" | "classic_queues" | "quorum_queues" | "streams" | "exchanges";
}

/** What an operator can do to a node. Each rabbitmqctl call takes 0.5 s or more: it starts an Erlang of its own. */
export class RabbitAdmin {
  readonly #container: BrokerContainer;
  readonly #vhost: string;
  readonly #url: () => string;

  constructor(container: BrokerContainer, vhost: string, url: () => string) {
    this.#container = container;
    this.#vhost = vhost;
    this.#url = url;
  }

  /** Any rabbitmqctl command; answers its output. */
  async ctl(...args: readonly string[]): Promise<string> {
    return await this.#container.exec(["rabbitmqctl", "--quiet", ...args]);
  }

  /** The counts of quorum queues are those of their last tick, up to 5 s old: `ready()` is exact. */
  async queues(): Promise<readonly QueueInfo[]> {
    const columns = [
      "name",
      "type",
      "exclusive",
      "messages",
      "messages_ready",
      "messages_unacknowledged",
      "consumers",
      "leader",
      "pid",
    ];
    const output = await this.ctl("--vhost", this.#vhost, "--formatter", "json", "list_queues", ...columns);
    const rows = JSON.parse(output) as Record<string, string | number | boolean>[];
    return rows.map((row) => ({
      name: String(row["name"]),
      type: String(row["type"]),
      exclusive: row["exclusive"] === true || row["exclusive"] === "true",
      messages: Number(row["messages"] ?? 0),
      ready: Number(row["messages_ready"] ?? 0),
      unacknowledged: Number(row["messages_unacknowledged"] ?? 0),
      consumers: Number(row["consumers"] ?? 0),
      leader: String(row["leader"] || nodeOfPid(String(row["pid"] ?? ""))),
    }));
  }

  /** The node that leads a quorum queue, as this node knows it: its own table is read, no other node is asked. */
  async leaderOf(queue: string): Promise<string | null> {
    const answer = await this.ctl(
      "eval",
      `{ok, Q} = rabbit_amqqueue:lookup(${this.#resource(queue)}),
       case amqqueue:get_pid(Q) of
         {Name, _} -> case ra_leaderboard:lookup_leader(Name) of {_, Node} -> Node; _ -> none end;
         Pid -> node(Pid)
       end.`,
    );
    const node = answer.trim().replace(/^'|'$/g, "");
    return node === "none" ? null : node;
  }

  /** Erlang names of the nodes that run in this node's cluster. */
  async runningNodes(): Promise<readonly string[]> {
    return ((await this.ctl("eval", "rabbit_nodes:list_running().")).match(/[\w-]+@[\w-]+/g) ?? []).sort();
  }

  /**
   * Ready messages of one queue: exact where `queues()` may be 5 s late. What consumers hold is not among them: close
   * them first to count all. A passive declare on a fresh connection, so a few milliseconds.
   */
  async ready(queue: string): Promise<number> {
    const connection = await open(this.#url());
    try {
      const channel = await connection.createChannel();
      channel.on("error", () => {});
      const asked = performance.now();
      const { messageCount } = await channel.checkQueue(queue);
      // RabbitMQ answers 0 for a quorum queue whose leader says nothing for 250 ms. It asks the leader of its records,
      // and records cannot change while another node is frozen: for a minute such a zero proves nothing.
      if (messageCount > 0 || performance.now() - asked < LEADER_ANSWER_MS) return messageCount;
    } finally {
      await connection.close().catch(() => {});
    }
    return await until(`the leader of ${queue} to count its messages`, 30_000, () => this.#readyAtLeader(queue));
  }

  async #readyAtLeader(queue: string): Promise<number | undefined> {
    const answer = await this.ctl(
      "eval",
      `{ok, Q} = rabbit_amqqueue:lookup(${this.#resource(queue)}),
       case amqqueue:get_pid(Q) of
         {Name, _} ->
           {ok, {_, {Ready, _}}, _} = ra:local_query(ra_leaderboard:lookup_leader(Name), fun rabbit_fifo:query_stat/1, 5000),
           Ready;
         _ -> {ok, Ready, _} = rabbit_amqqueue:stat(Q), Ready
       end.`,
    );
    const ready = answer.trim();
    return /^\d+$/.test(ready) ? Number(ready) : undefined;
  }

  #resource(queue: string): string {
    return `rabbit_misc:r(<<${JSON.stringify(this.#vhost)}>>, queue, <<${JSON.stringify(queue)}>>)`;
  }

  /**
   * Writes down what declares have changed. RabbitMQ answers `declare-ok` before the table that leads to a quorum
   * queue's log is on its disk (Erlang's dets, flushed some time later): after a kill -9 in between, the queue is listed
   * as running and serves nobody, confirmed messages included. Call it between a declare and `kill()`, unless that is
   * what a test is about.
   */
  async flushDeclares(): Promise<void> {
    await this.ctl("eval", "catch mnesia:sync_log(), [ok = dets:sync(Table) || Table <- dets:all()], ok.");
  }

  /** Raises the alarm as the resource itself would; resolves when the node has raised it. Publishers are then blocked. */
  async setAlarm(alarm: Alarm): Promise<void> {
    if (alarm === "memory") await this.ctl("set_vm_memory_high_watermark", "0.000001");
    else await this.ctl("set_disk_free_limit", "1000000GB");
    await this.#alarmIs(alarm, true);
  }

  async clearAlarm(alarm: Alarm): Promise<void> {
    if (alarm === "memory") await this.ctl("set_vm_memory_high_watermark", DEFAULT_MEMORY_WATERMARK);
    else await this.ctl("set_disk_free_limit", DEFAULT_DISK_LIMIT);
    await this.#alarmIs(alarm, false);
  }

  async alarms(): Promise<readonly Alarm[]> {
    const text = await this.ctl("eval", "rabbit_alarm:get_alarms().");
    return (["memory", "disk"] as const).filter((alarm) => text.includes(`resource_limit,${alarm}`));
  }

  /** The broker itself ends each connection, with a close frame (320 CONNECTION_FORCED). */
  async closeAllConnections(reason = "closed by the test"): Promise<void> {
    await this.ctl("close_all_connections", reason);
  }

  async setPolicy(plan: PolicyPlan): Promise<void> {
    const where = ["--vhost", this.#vhost, "--apply-to", plan.applyTo ?? "queues"];
    await this.ctl("set_policy", ...where, plan.name, plan.pattern, JSON.stringify(plan.definition));
  }

  async clearPolicy(name: string): Promise<void> {
    await this.ctl("clear_policy", "--vhost", this.#vhost, name);
  }

  async addVhost(name: string): Promise<void> {
    // One Erlang start for both: the guest may do nothing in a new vhost until it is told.
    const quoted = JSON.stringify(name);
    await this.ctl(
      "eval",
      `ok = rabbit_vhost:add(<<${quoted}>>, <<"tally-tests">>),
       ok = rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<${quoted}>>, <<".*">>, <<".*">>, <<".*">>, <<"tally-tests">>).`,
    );
  }

  async deleteVhost(name: string): Promise<void> {
    await this.ctl("delete_vhost", name);
  }

  async #alarmIs(alarm: Alarm, raised: boolean): Promise<void> {
    const what = `the ${alarm} alarm to be ${raised ? "raised" : "cleared"}`;
    await until(what, 30_000, async () => (await this.alarms()).includes(alarm) === raised);
  }
}

/** `<rabbit@host.1700000000.555.0>` → `rabbit@host`. */
function nodeOfPid(pid: string): string {
  return /^<([^.]+@[^.]+)\./.exec(pid)?.[1] ?? "";
}
