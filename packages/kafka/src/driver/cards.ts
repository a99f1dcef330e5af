import kafkajs, { type Assigner, type PartitionAssigner } from "kafkajs";

const { MemberMetadata } = kafkajs.AssignerProtocol;

/** kafkajs' own way of giving out partitions, with a card in the member's subscription, where the protocol has a place for it. */
export function showing(card: string | null): PartitionAssigner {
  return (config) => {
    const own = kafkajs.PartitionAssigners.roundRobin(config);
    const userData = Buffer.from(card ?? "");
    const assigner: Assigner = {
      ...own,
      protocol: ({ topics }) => ({
        name: own.name,
        metadata: MemberMetadata.encode({ version: own.version, topics, userData }),
      }),
    };
    return assigner;
  };
}

/** Null: it shows none. Others may subscribe with anything. */
export function cardIn(metadata: Buffer): string | null {
  try {
    const card = MemberMetadata.decode(metadata)?.userData.toString("utf8") ?? "";
    return card === "" ? null : card;
  } catch {
    return null;
  }
}
