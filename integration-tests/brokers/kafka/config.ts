/** Ports inside the container. */
export const PORTS = {
  direct: 9092,
  controller: 9093,
  proxied: 9094,
  internal: 9095,
  login: 9096,
  mutual: 9097,
} as const;

export interface ConfigPlan {
  readonly node: number;
  /** `id@host:port` of each controller. */
  readonly voters: string;
  readonly nodes: number;
  /** What listeners beyond these add to each list of listeners. */
  readonly extra: { readonly listeners: string; readonly advertised: string; readonly protocols: string };
  /** Lines of server.properties after ours; a later line wins. */
  readonly more: string;
}

/**
 * Two listeners for clients, since a broker tells them where it is: one straight, one through a proxy. What is written in
 * capitals between signs is put in by the start script, which knows the host's ports.
 */
export function serverProperties({ node, voters, nodes, extra, more }: ConfigPlan): string {
  return `
process.roles=broker,controller
node.id=${node}
controller.quorum.voters=${voters}
controller.listener.names=CONTROLLER
listeners=DIRECT://:${PORTS.direct},PROXIED://:${PORTS.proxied},INTERNAL://:${PORTS.internal},CONTROLLER://:${PORTS.controller}${extra.listeners}
advertised.listeners=DIRECT://127.0.0.1:@DIRECT@,PROXIED://127.0.0.1:@PROXIED@,INTERNAL://@HOST@:${PORTS.internal}${extra.advertised}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT,PROXIED:PLAINTEXT,INTERNAL:PLAINTEXT${extra.protocols}
inter.broker.listener.name=INTERNAL
log.dirs=${DATA}
num.partitions=6
default.replication.factor=${nodes}
min.insync.replicas=${nodes > 1 ? 2 : 1}
offsets.topic.replication.factor=${nodes}
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=${nodes}
transaction.state.log.min.isr=${nodes > 1 ? 2 : 1}
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=${nodes}
share.coordinator.state.topic.min.isr=${nodes > 1 ? 2 : 1}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=2097152
log.segment.bytes=16777216
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
${more}
`.trimStart();
}

const DATA = "/tmp/tally-kafka/data";

export const LOG4J = `
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
`.trimStart();

/** The same for the makers' image and for ours: both have the jars in one place, and a java. */
export const START_SCRIPT = `#!/bin/sh
set -ef
ulimit -n 65536 2>/dev/null || true
mkdir -p ${DATA}
conf=/tmp/tally-kafka/server.properties
port() { echo "$TALLY_HOST_PORTS" | cut -d, -f"$1"; }
sed -e "s/@DIRECT@/$(port 1)/" -e "s/@LOGIN@/$(port 3)/" -e "s/@MUTUAL@/$(port 4)/" -e "s/@PROXIED@/$TALLY_PROXY_PORT/" -e "s/@HOST@/$(hostname)/" /tally/server.properties >$conf
flags="-Xms96m -Xmx256m -XX:+UseSerialGC -XX:MaxDirectMemorySize=64m -XX:ReservedCodeCacheSize=64m -XX:TieredStopAtLevel=1"
# A node of a cluster may look for another before that one has a name, and that one may come back at another address.
flags="$flags -Dsun.net.inetaddr.ttl=1 -Dsun.net.inetaddr.negative.ttl=0"
flags="$flags -Dlog4j2.configurationFile=/tally/log4j2.properties"
libs='/opt/kafka/libs/*'
[ -f ${DATA}/meta.properties ] || java $flags -cp "$libs" kafka.tools.StorageTool format -t "$TALLY_CLUSTER" -c $conf $TALLY_SCRAM_USERS
exec java $flags -cp "$libs" kafka.Kafka $conf
`;
