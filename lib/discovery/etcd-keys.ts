import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Instance, InstanceSchema } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { kindLabel } from './metrics.ts';
import { instanceIdHex } from './validate.ts';

/** A key with this value was withdrawn by its owner and is about to go; a key that goes without it has expired. */
export const WITHDRAWN = Buffer.alloc(0);

export function instancesPrefix(namespace: string): string {
  return `/stator/v1/${namespace}/instances/`;
}

/** `/stator/v1/<namespace>/<collection>/`: records that nobody's lease holds. */
export function recordsPrefix(namespace: string, collection: string): string {
  return `/stator/v1/${namespace}/${collection}/`;
}

/** `/stator/v1/<namespace>/instances/<kind>/<instance id, 16 hexadecimal digits>` */
export function instanceKey(instance: Instance): Buffer {
  const prefix = instancesPrefix(instance.namespace);
  return Buffer.from(`${prefix}${kindLabel(instance.kind)}/${instanceIdHex(instance.instanceId)}`);
}

/** The id at the end of a key, or undefined when the key is not an instance's. */
export function instanceIdOf(key: Buffer): bigint | undefined {
  const digits = /\/[a-z]+\/([0-9a-f]{16})$/.exec(key.toString('utf8'))?.[1];
  return digits === undefined ? undefined : BigInt(`0x${digits}`);
}

export function encodeInstance(instance: Instance): Buffer {
  return Buffer.from(toBinary(InstanceSchema, instance));
}

/** The instance stored under a key. Throws when the bytes are not one, or not the one the key promises. */
export function decodeInstance(key: Buffer, value: Buffer): Instance {
  const instance = fromBinary(InstanceSchema, value);
  const expected = instanceKey(instance);
  if (!expected.equals(key)) throw new Error(`holds the instance of ${expected.toString('utf8')}`);
  if (instance.instanceId === 0n || instance.address === '') throw new Error('holds no instance_id or no address');
  return instance;
}

/** End of the range of all keys with a prefix: the prefix with its last byte one higher. */
export function endOfPrefix(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end.writeUInt8(end.readUInt8(end.length - 1) + 1, end.length - 1);
  return end;
}
