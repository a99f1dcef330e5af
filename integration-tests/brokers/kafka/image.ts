import type { ImageSource } from "../engine/image.ts";

const KAFKA = "4.3.1";

export const kafkaImage: ImageSource = {
  name: "kafka",
  setting: "TALLY_IMAGE_KAFKA",
  official: `apache/kafka:${KAFKA}`,
  recipe: {
    suite: "trixie",
    packages: ["openjdk-21-jre-headless"],
    jars: {
      // The tools are the Java console clients. The broker's own log goes through log4j, of the version that it was built with.
      artifacts: [
        `org.apache.kafka:kafka_2.13:${KAFKA}`,
        `org.apache.kafka:kafka-tools:${KAFKA}`,
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
      ],
      into: "/opt/kafka/libs",
    },
  },
};
