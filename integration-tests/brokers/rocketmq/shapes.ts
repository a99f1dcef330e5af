import { brokerProperties, HOME, hostPort } from "./config.ts";

/**
 * What runs beside name server and proxy. `one`: a broker. `replicated`: a master that answers when its slave has a message
 * too. `controlled`: three replicas of one broker, of which a controller (in the name server) makes one the master, another
 * when that dies; what is in sync is waited for, two at least.
 */
export type Shape = "one" | "replicated" | "controlled";

export type BrokerPart = "broker" | "second" | "third";
/** A process of the container. */
export type Part = "names" | "proxy" | BrokerPart;

export const BROKERS: Readonly<Record<Shape, readonly BrokerPart[]>> = {
  one: ["broker"],
  replicated: ["broker", "second"],
  controlled: ["broker", "second", "third"],
};

/** Behind those of name server and proxy come the brokers', and then the controller's. */
const FIRST_BROKER = 3;

export function brokerPortAt(part: BrokerPart): number {
  return FIRST_BROKER + BROKERS.controlled.indexOf(part);
}

/** Ports of what tells others where it is: brokers, and the controller. */
export function ownPorts(shape: Shape): readonly "same"[] {
  return Array.from({ length: BROKERS[shape].length + (shape === "controlled" ? 1 : 0) }, () => "same");
}

const CONTROLLER = `127.0.0.1:${hostPort(FIRST_BROKER + BROKERS.controlled.length)}`;
/** Instead of ten seconds and more, for tests. */
const QUICK = { scan: 1_000, silent: 4_000, beat: 1_000 } as const;

export function namesConf(shape: Shape): string {
  if (shape !== "controlled") return "listenPort=9876\n";
  return `
listenPort=9876
enableControllerInNamesrv=true
controllerDLegerGroup=group1
controllerDLegerPeers=n0-${CONTROLLER}
controllerDLegerSelfId=n0
controllerStorePath=${HOME}/names/controller
enableElectUncleanMaster=false
notifyBrokerRoleChanged=true
scanNotActiveBrokerInterval=${QUICK.scan}
`;
}

/** @param more Lines of the test's; a later line wins. */
export function brokerConf(shape: Shape, part: BrokerPart, more: string): string {
  const store = `${HOME}/${part}/store`;
  const at = BROKERS[shape].indexOf(part);
  return brokerProperties(`
listenPort=${hostPort(brokerPortAt(part))}
haListenPort=${10_912 + at}
storePathRootDir=${store}
storePathCommitLog=${store}/commitlog
storePathEpochFile=${store}/epochs
${SHAPE[shape](at)}
${more}`);
}

const SHAPE: Readonly<Record<Shape, (at: number) => string>> = {
  one: () => "brokerId=0\nbrokerRole=SYNC_MASTER",
  replicated: (at) => `
brokerId=${at}
brokerRole=${at === 0 ? "SYNC_MASTER" : "SLAVE"}
inSyncReplicas=2
slaveTimeout=1000
syncFlushTimeout=1000`,
  controlled: () => `
brokerId=-1
brokerRole=SLAVE
enableControllerMode=true
controllerAddr=${CONTROLLER}
allAckInSyncStateSet=true
inSyncReplicas=2
minInSyncReplicas=2
slaveTimeout=1000
syncFlushTimeout=1000
controllerHeartBeatTimeoutMills=${QUICK.silent}
brokerHeartbeatInterval=${QUICK.beat}`,
};
