import type { ContainerPlan } from "../engine/container.ts";
import type { Identity } from "../tls/certificates.ts";
import { PORTS } from "./config.ts";

/** Listeners that want to know who comes: one asks for user and password over TLS, one for a client's certificate. */
export interface SecureListeners {
  readonly identity: Identity;
  /** Whose certificates let a client in. */
  readonly clientsOf: string;
  readonly username: string;
  /** Each mechanism has its own, see {@link passwordFor}. */
  readonly password: string;
}

/** Another one for each: a client that takes one mechanism for another is not let in. */
export function passwordFor(mechanism: "plain" | "scram-sha-256" | "scram-sha-512", password: string): string {
  return `${password}-${mechanism}`;
}

const FOLDER = "/tally/tls";
const SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

export function secureLines(secure: SecureListeners | null): string {
  if (secure === null) return "";
  const { username, password } = secure;
  return `
listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_${username}="${passwordFor("plain", password)}";
listener.name.login.scram-sha-256.sasl.jaas.config=${SCRAM}
listener.name.login.scram-sha-512.sasl.jaas.config=${SCRAM}
listener.name.mutual.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location=${FOLDER}/own.pem
ssl.truststore.type=PEM
ssl.truststore.location=${FOLDER}/clients.pem
`;
}

/** What the listeners add to the lists that name all of them. */
export const SECURE = {
  listeners: `,LOGIN://:${PORTS.login},MUTUAL://:${PORTS.mutual}`,
  advertised: ",LOGIN://127.0.0.1:@LOGIN@,MUTUAL://127.0.0.1:@MUTUAL@",
  protocols: ",LOGIN:SASL_SSL,MUTUAL:SSL",
} as const;

/** Arguments of the storage tool: SCRAM's users are part of the cluster's first records. */
export function scramUsers(secure: SecureListeners | null): string {
  if (secure === null) return "";
  const { username, password } = secure;
  return (["scram-sha-256", "scram-sha-512"] as const)
    .map((one) => `-S ${one.toUpperCase()}=[name=${username},password=${passwordFor(one, password)}]`)
    .join(" ");
}

/** Readable to all in the container: the broker runs as a user of its own there, and the keys end with it. */
export function secureFiles(secure: SecureListeners | null): ContainerPlan["files"] {
  if (secure === null) return [];
  const { identity, clientsOf } = secure;
  return [
    // The key first, then its chain.
    { target: `${FOLDER}/own.pem`, content: `${identity.key}${identity.cert}`, mode: 0o644 },
    { target: `${FOLDER}/clients.pem`, content: clientsOf, mode: 0o644 },
  ];
}
