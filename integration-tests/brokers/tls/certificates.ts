import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIPv4 } from "node:net";
import { bits, element, integer, octets, oid, sequence, set, time, TRUE, utf8 } from "./der.ts";

/** A certificate and its key, as PEM. They live in this process and in the containers that they are given to. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

export interface IdentityPlan {
  /** The common name. */
  readonly name: string;
  /** Names and IPv4 addresses that it is good for. @default none: a client's */
  readonly hosts?: readonly string[];
  /** Hours from now. @default -1 */
  readonly from?: number;
  /** Hours from now. @default 12 */
  readonly until?: number;
  /** Encrypts the key. @default none */
  readonly passphrase?: string;
}

/** Signs certificates that live for hours. */
export interface Authority {
  /** Its own certificate, as PEM. */
  readonly cert: string;
  issue(plan: IdentityPlan): Identity;
}

const ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));
const BASIC_CONSTRAINTS = "2.5.29.19";
const ALTERNATIVE_NAMES = "2.5.29.17";
const HOUR = 3_600_000;

/** @param name The common name, so that two of them differ in what peers say. */
export function authority(name: string): Authority {
  const own = keys();
  const plan = { name, from: -1, until: 12 };
  const isCa = extension(BASIC_CONSTRAINTS, sequence(TRUE), true);
  return {
    cert: certificate(plan, own.publicKey, [isCa], plan.name, own.privateKey),
    issue(of) {
      const { publicKey, privateKey } = keys();
      const hosts = (of.hosts ?? []).map(generalName);
      const extensions = hosts.length === 0 ? [] : [extension(ALTERNATIVE_NAMES, sequence(...hosts), false)];
      const locked = of.passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase: of.passphrase };
      return {
        cert: certificate(of, publicKey, extensions, name, own.privateKey),
        key: privateKey.export({ type: "pkcs8", format: "pem", ...locked }) as string,
      };
    },
  };
}

function certificate(
  { name, from = -1, until = 12 }: IdentityPlan,
  key: KeyObject,
  extensions: readonly Uint8Array[],
  issuer: string,
  signer: KeyObject,
): string {
  const now = Date.now();
  const at = (hours: number): Buffer => time(new Date(now + hours * HOUR));
  const body = sequence(
    element(0xa0, integer(Buffer.from([2]))), // version 3
    integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])), // no leading zero: its shortest form is asked for
    ECDSA_WITH_SHA256,
    commonName(issuer),
    sequence(at(from), at(until)),
    commonName(name),
    key.export({ type: "spki", format: "der" }),
    ...(extensions.length === 0 ? [] : [element(0xa3, sequence(...extensions))]),
  );
  const whole = sequence(body, ECDSA_WITH_SHA256, bits(sign("sha256", body, signer)));
  const lines = whole.toString("base64").replace(/.{64}/g, "$&\n").trim();
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

function keys(): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

function commonName(name: string): Buffer {
  return sequence(set(sequence(oid("2.5.4.3"), utf8(name))));
}

function extension(id: string, value: Uint8Array, critical: boolean): Buffer {
  return sequence(oid(id), ...(critical ? [TRUE] : []), octets(value));
}

function generalName(host: string): Buffer {
  return isIPv4(host)
    ? element(0x87, Buffer.from(host.split(".").map(Number)))
    : element(0x82, Buffer.from(host, "latin1"));
}
