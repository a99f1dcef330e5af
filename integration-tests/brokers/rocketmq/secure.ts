import type { ContainerPlan } from "../engine/container.ts";
import type { Identity } from "../tls/certificates.ts";

/** A proxy that speaks TLS only, and asks who comes; so do the brokers. */
export interface Secure {
  readonly identity: Identity;
  /** Who has signed it, as PEM. */
  readonly ca: string;
  /** May do everything; made with the first start. */
  readonly accessKey: string;
  readonly secretKey: string;
}

const FOLDER = "/tally/tls";
const AUTH = "org.apache.rocketmq.auth";
const PROXY = "org.apache.rocketmq.proxy.auth";

/** Between our own parts. */
function inner({ accessKey, secretKey }: Secure): string {
  return JSON.stringify({ accessKey, secretKey });
}

export function secureBroker(secure: Secure | null): string {
  if (secure === null) return "";
  const { accessKey, secretKey } = secure;
  return `
authenticationEnabled=true
authenticationProvider=${AUTH}.authentication.provider.DefaultAuthenticationProvider
authenticationMetadataProvider=${AUTH}.authentication.provider.LocalAuthenticationMetadataProvider
initAuthenticationUser=${JSON.stringify({ username: accessKey, password: secretKey })}
innerClientAuthenticationCredentials=${inner(secure)}
authorizationEnabled=true
authorizationProvider=${AUTH}.authorization.provider.DefaultAuthorizationProvider
authorizationMetadataProvider=${AUTH}.authorization.provider.LocalAuthorizationMetadataProvider
`;
}

export function secureProxy(secure: Secure | null): object {
  if (secure === null) return {};
  return {
    tlsTestModeEnable: false,
    tlsKeyPath: `${FOLDER}/key.pem`,
    tlsCertPath: `${FOLDER}/cert.pem`,
    authenticationEnabled: true,
    authenticationProvider: `${AUTH}.authentication.provider.DefaultAuthenticationProvider`,
    authenticationMetadataProvider: `${PROXY}.ProxyAuthenticationMetadataProvider`,
    innerClientAuthenticationCredentials: inner(secure),
    authorizationEnabled: true,
    authorizationProvider: `${AUTH}.authorization.provider.DefaultAuthorizationProvider`,
    authorizationMetadataProvider: `${PROXY}.ProxyAuthorizationMetadataProvider`,
    enableAclRpcHookForClusterMode: true,
  };
}

/** Readable to all in the container, whose user is not always the same; the keys end with it. */
export function secureFiles(secure: Secure | null): ContainerPlan["files"] {
  if (secure === null) return [];
  const { cert, key } = secure.identity;
  return [
    { target: `${FOLDER}/cert.pem`, content: cert, mode: 0o644 },
    { target: `${FOLDER}/key.pem`, content: key, mode: 0o644 },
  ];
}
