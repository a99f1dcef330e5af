import type { ContainerPlan } from "../engine/container.ts";
import type { Identity } from "../tls/certificates.ts";

/** A listener on 5671 beside the plain one. */
export interface TlsListener {
  readonly identity: Identity;
  /** Whose clients are let in: each has to show a certificate. */
  readonly clientsOf: string;
}

const FOLDER = "/tally/tls";

export function tlsConfig(tls: TlsListener | null): string {
  if (tls === null) return "";
  return `
listeners.ssl.default = 5671
ssl_options.cacertfile = ${FOLDER}/clients.pem
ssl_options.certfile = ${FOLDER}/own.pem
ssl_options.keyfile = ${FOLDER}/own-key.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
`;
}

/** Readable to all in the container: the broker runs as a user of its own there, and the keys end with it. */
export function tlsFiles(tls: TlsListener | null): ContainerPlan["files"] {
  if (tls === null) return [];
  const file = (name: string, content: string): ContainerPlan["files"][number] => ({
    target: `${FOLDER}/${name}`,
    content,
    mode: 0o644,
  });
  return [
    file("clients.pem", tls.clientsOf),
    file("own.pem", tls.identity.cert),
    file("own-key.pem", tls.identity.key),
  ];
}
