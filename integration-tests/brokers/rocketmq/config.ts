import { type Secure, secureProxy } from "./secure.ts";
import type { Part } from "./shapes.ts";

/** Ports inside the container. Those of brokers are the same inside as outside: they tell others where they are. */
export const PORTS = { names: 9876, proxy: 8081 } as const;

export const HOME = "/tmp/tally-rocketmq";

/** The n-th of the container's host ports, from 1, filled in when a part begins. */
export function hostPort(n: number): string {
  return `@${n}@`;
}

/**
 * How the broker looks after half messages, quick enough for tests; a later line wins.
 *
 * `timerFlushIntervalMs`: each flush goes over 38 MiB, which is a fifth of a core with the default of a second.
 * `registerNameServerPeriod`: when its first registration is lost the second one comes after 10 s, and the third, by default,
 * 30 s later.
 * `transactionMetricFlushInterval`: until it has passed for the first time a thread turns round and round, for 3 s by
 * default, just when the broker starts.
 */
export function brokerProperties(more: string): string {
  return `
brokerClusterName=DefaultCluster
brokerName=broker-a
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
namesrvAddr=127.0.0.1:${PORTS.names}
flushDiskType=SYNC_FLUSH
autoCreateTopicEnable=false
autoCreateSubscriptionGroup=false
registerNameServerPeriod=10000
transactionTimeOut=3000
transactionCheckInterval=5000
transactionMetricFlushInterval=500
timerFlushIntervalMs=5000
mappedFileSizeCommitLog=67108864
mappedFileSizeConsumeQueue=200000
mappedFileSizeTimerLog=10485760
maxHashSlotNum=50000
maxIndexNum=200000
diskMaxUsedSpaceRatio=95
${more}
`.trimStart();
}

export function proxyJson(secure: Secure | null): string {
  return JSON.stringify({
    rocketMQClusterName: "DefaultCluster",
    proxyMode: "CLUSTER",
    namesrvAddr: `127.0.0.1:${PORTS.names}`,
    grpcServerPort: PORTS.proxy,
    remotingListenPort: 8080,
    useEndpointPortFromRequest: true,
    // By default a consumer's request stays for 5 s at least, and so long a close may have to wait.
    grpcClientConsumerMinLongPollingTimeoutMillis: 1_000,
    // By default a proxy believes for 20 s what it has heard of topics, and longer on a busy machine: also that there are none.
    topicRouteServiceCacheRefreshSeconds: 2,
    topicConfigCacheRefreshSeconds: 2,
    subscriptionGroupConfigCacheRefreshSeconds: 2,
    // By default a broker learns only after 20 s whom it may ask about half messages.
    transactionHeartbeatPeriodSecond: 1,
    ...secureProxy(secure),
  });
}

/**
 * One container, several processes, each of which can be killed and started by itself: `run.sh names | proxy | broker …`.
 *
 * The same for the makers' image and for ours.
 */
export const RUN_SCRIPT = `#!/bin/sh
set -ef
part=$1
mkdir -p ${HOME}/$part
libs='/opt/rocketmq/lib/*'
# The makers' image has its jars where it says its home is.
[ -d /opt/rocketmq/lib ] || libs="$ROCKETMQ_HOME/lib/*"
export ROCKETMQ_HOME=${HOME}
flags="-XX:+UseSerialGC $TALLY_JIT -Duser.home=${HOME}/$part"
if [ -f /tally/$part.conf ]; then
  cp /tally/$part.conf ${HOME}/$part.conf
  n=0
  for port in $(echo "$TALLY_HOST_PORTS" | tr , ' '); do
    n=$((n + 1))
    sed -i -e "s/@$n@/$port/g" ${HOME}/$part.conf
  done
fi
case $part in
names) exec java $flags -Xmx96m -cp "$libs" org.apache.rocketmq.namesrv.NamesrvStartup -c ${HOME}/names.conf ;;
proxy) exec java $flags -Xmx256m -XX:MaxDirectMemorySize=128m -Dtls.server.mode=\${TALLY_TLS:-permissive} \\
  -cp "$libs" org.apache.rocketmq.proxy.ProxyStartup -pc /tally/proxy.json ;;
*) exec java $flags -Xmx384m -XX:MaxDirectMemorySize=384m -cp "$libs" org.apache.rocketmq.broker.BrokerStartup -c ${HOME}/$part.conf ;;
esac
`;

/**
 * Of the parts' virtual machines: tests start brokers often and use them little, so code is compiled once and lightly; a
 * benchmark wants what a broker that has run for long does.
 */
export const JIT = {
  quick: "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=64m",
  full: "",
} as const;

/** Runs a part in the background, its log among the container's, and leaves its number behind. */
export const BEGIN_SCRIPT = `#!/bin/sh
part=$1
# Or whoever waits for its first words could find those of the one before it.
rm -f ${HOME}/$part.out
setsid sh /tally/run.sh "$part" >${HOME}/$part.out 2>&1 &
echo $! >${HOME}/$part.pid
setsid tail -n +1 -F --pid=$! ${HOME}/$part.out >/proc/1/fd/1 2>&1 &
`;

/**
 * The container's first process: begins the parts one after the other, and stays, whatever becomes of them.
 *
 * A broker registers as it starts, unless its connection to the name server is a moment late: then 10 s afterwards. A
 * proxy that comes in between finds no broker and ends, and is begun again.
 */
export const START_SCRIPT = `#!/bin/sh
mkdir -p ${HOME}
up() {
  until grep -q "$2" ${HOME}/$1.out; do
    # A second, so that its last words are in the log.
    kill -0 "$(cat ${HOME}/$1.pid)" 2>/dev/null || { sleep 1; return 1; }
    sleep 0.1
  done
}
sh /tally/begin.sh names
up names "boot success" || exit 1
for broker in "$@"; do sh /tally/begin.sh "$broker"; done
for broker in "$@"; do up "$broker" "boot success" || exit 1; done
attempt=1
until sh /tally/begin.sh proxy && up proxy "startup successfully"; do
  [ $attempt -lt 5 ] || exit 1
  attempt=$((attempt + 1))
done
echo "RocketMQ is up"
while :; do sleep 1; done
`;

/** What a part says when it is up, in its own log since it was begun. */
export function upWords(part: Part): string {
  return part === "proxy" ? "startup successfully" : "boot success";
}

export function outOf(part: Part): string {
  return `${HOME}/${part}.out`;
}

export function pidOf(part: Part): string {
  return `${HOME}/${part}.pid`;
}
