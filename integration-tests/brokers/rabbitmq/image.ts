import type { ImageSource } from "../engine/image.ts";

export const rabbitmqImage: ImageSource = {
  name: "rabbitmq",
  setting: "TALLY_IMAGE_RABBITMQ",
  official: "rabbitmq:4-management",
  recipe: { suite: "trixie", packages: ["rabbitmq-server"] },
};
