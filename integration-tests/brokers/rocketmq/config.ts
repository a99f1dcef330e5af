/** Ports inside the container. The broker's is the same inside as outside: it tells others where it is. */
export const PORTS = { names: 9876, proxy: 8081, broker: "same" } as const;

/** How often the broker looks after half messages, quick enough for tests; a later line wins. */
export function brokerProperties(more: string): string {
  return `
brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=0
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
listenPort=@BROKER@
haListenPort=10912
namesrvAddr=127.0.0.1:${PORTS.names}
storePathRootDir=${HOME}/store
storePathCommitLog=${HOME}/store/commitlog
flushDiskType=SYNC_FLUSH
brokerRole=SYNC_MASTER
autoCreateTopicEnable=false
autoCreateSubscriptionGroup=false
transactionTimeOut=3000
transactionCheckInterval=5000
mappedFileSizeCommitLog=67108864
mappedFileSizeConsumeQueue=200000
mappedFileSizeTimerLog=10485760
maxHashSlotNum=50000
maxIndexNum=200000
diskMaxUsedSpaceRatio=95
${more}
`.trimStart();
}

export const PROXY_JSON: string = JSON.stringify({
  rocketMQClusterName: "DefaultCluster",
  proxyMode: "CLUSTER",
  namesrvAddr: `127.0.0.1:${PORTS.names}`,
  grpcServerPort: PORTS.proxy,
  remotingListenPort: 8080,
  useEndpointPortFromRequest: true,
  // By default a consumer's request stays for 5 s at least, and so long a close may have to wait.
  grpcClientConsumerMinLongPollingTimeoutMillis: 1_000,
});

const HOME = "/tmp/tally-rocketmq";

/**
 * One container, three processes, each of which can be killed and started by itself: `run.sh names | broker | proxy`.
 *
 * The same for the makers' image and for ours.
 */
export const RUN_SCRIPT = `#!/bin/sh
set -ef
part=$1
mkdir -p ${HOME}
libs='/opt/rocketmq/lib/*'
# The makers' image has its jars where it says its home is.
[ -d /opt/rocketmq/lib ] || libs="$ROCKETMQ_HOME/lib/*"
export ROCKETMQ_HOME=${HOME}
flags="-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=64m -Duser.home=${HOME}/$part"
case $part in
names) exec java $flags -Xmx96m -cp "$libs" org.apache.rocketmq.namesrv.NamesrvStartup ;;
broker)
  sed -e "s/@BROKER@/$(echo "$TALLY_HOST_PORTS" | cut -d, -f3)/" /tally/broker.conf >${HOME}/broker.conf
  exec java $flags -Xmx384m -XX:MaxDirectMemorySize=384m -cp "$libs" org.apache.rocketmq.broker.BrokerStartup -c ${HOME}/broker.conf ;;
proxy) exec java $flags -Xmx256m -XX:MaxDirectMemorySize=128m -cp "$libs" org.apache.rocketmq.proxy.ProxyStartup -pc /tally/proxy.json ;;
esac
`;

/** Runs a part in the background, its log among the container's, and leaves its number behind. */
export const BEGIN_SCRIPT = `#!/bin/sh
part=$1
setsid sh /tally/run.sh "$part" >${HOME}/$part.out 2>&1 &
echo $! >${HOME}/$part.pid
setsid tail -n +1 -f --pid=$! ${HOME}/$part.out >/proc/1/fd/1 2>&1 &
`;

/** The container's first process: begins the parts one after the other, and stays, whatever becomes of them. */
export const START_SCRIPT = `#!/bin/sh
mkdir -p ${HOME}
begin() {
  sh /tally/begin.sh "$1"
  until grep -q "$2" ${HOME}/$1.out; do
    kill -0 "$(cat ${HOME}/$1.pid)" 2>/dev/null || { sleep 1; exit 1; }
    sleep 0.1
  done
}
begin names "boot success"
begin broker "boot success"
begin proxy "startup successfully"
echo "RocketMQ is up"
while :; do sleep 1; done
`;

/** What a part says when it is up, in its own log since it was begun. */
export const UP: Readonly<Record<Part, string>> = {
  names: "boot success",
  broker: "boot success",
  proxy: "startup successfully",
};

export type Part = "names" | "broker" | "proxy";

export function outOf(part: Part): string {
  return `${HOME}/${part}.out`;
}

export function pidOf(part: Part): string {
  return `${HOME}/${part}.pid`;
}
