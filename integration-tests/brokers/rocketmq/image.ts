import type { ImageSource } from "../engine/image.ts";

const ROCKETMQ = "5.5.0";

export const rocketImage: ImageSource = {
  name: "rocketmq",
  setting: "TALLY_IMAGE_ROCKETMQ",
  official: `apache/rocketmq:${ROCKETMQ}`,
  recipe: {
    suite: "trixie",
    packages: ["openjdk-21-jre-headless"],
    jars: {
      artifacts: ["namesrv", "broker", "proxy"].map((part) => `org.apache.rocketmq:rocketmq-${part}:${ROCKETMQ}`),
      into: "/opt/rocketmq/lib",
    },
  },
};
