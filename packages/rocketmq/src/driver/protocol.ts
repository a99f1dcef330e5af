// The protocol's classes, of the client's package: CommonJS without names that Node could find, so each is a default import.
import util from "rocketmq-client-nodejs/dist/util/index.js";
import definition from "rocketmq-client-nodejs/proto/apache/rocketmq/v2/definition_pb.js";
import service from "rocketmq-client-nodejs/proto/apache/rocketmq/v2/service_pb.js";

export { definition, service };

export const duration: typeof util.createDuration = util.createDuration;
export const resource: typeof util.createResource = util.createResource;
/** HMAC-SHA1 of the time of a request, as its header wants it. */
export const sign: typeof util.sign = util.sign;
/** yyyyMMdd'T'HHmmss'Z' */
export const timeOfRequest: typeof util.getRequestDateTime = util.getRequestDateTime;

/** Of a body, as the protocol writes it; null for a kind that nobody knows. */
export function checksum(kind: number, body: Uint8Array): string | null {
  switch (kind) {
    case definition.DigestType.CRC32:
      return util.crc32CheckSum(Buffer.from(body.buffer, body.byteOffset, body.byteLength));
    case definition.DigestType.MD5:
      return util.md5CheckSum(body);
    case definition.DigestType.SHA1:
      return util.sha1CheckSum(body);
    default:
      return null;
  }
}
