import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { startRabbit, type RabbitNode } from "../brokers/index.ts";

/** Who gives out tokens that a broker of ours believes: its key is made here and ends with this process. */
export class TokenIssuer {
  readonly #keys = generateKeyPairSync("rsa", { modulusLength: 2_048 });

  /** A token that may do anything on the broker for so many seconds. */
  issue(seconds: number): string {
    const now = Math.floor(Date.now() / 1_000);
    const scope = ["configure", "write", "read"].map((verb) => `rabbitmq.${verb}:*/*`).join(" ");
    const claims = { aud: ["rabbitmq"], sub: "shop", jti: randomUUID(), iat: now, exp: now + seconds, scope };
    const signed = `${part({ alg: "RS256", typ: "JWT", kid: "k1" })}.${part(claims)}`;
    return `${signed}.${sign("sha256", Buffer.from(signed), this.#keys.privateKey).toString("base64url")}`;
  }

  /** A broker that believes its tokens, and guest's password. */
  async broker(): Promise<RabbitNode> {
    const key = this.#keys.publicKey.export({ type: "spki", format: "pem" }) as string;
    return await startRabbit({
      plugins: ["rabbitmq_auth_backend_oauth2"],
      files: [{ target: "/tally/oauth/k1.pem", content: key, mode: 0o644 }],
      config: `
auth_backends.1 = rabbit_auth_backend_oauth2
auth_backends.2 = internal
auth_oauth2.resource_server_id = rabbitmq
auth_oauth2.signing_keys.k1 = /tally/oauth/k1.pem
auth_oauth2.default_key = k1
`,
    });
  }
}

function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
