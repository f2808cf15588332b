/** What an object's key says of the block in it. Digests are 32 hexadecimal digits. */
export interface ObjectName {
  /** As people know the model; its characters beside letters, digits, `.`, `_` and `-` become `_`. */
  readonly model: string;
  /** First 16 hexadecimal digits of the digest of the model's contents: equal names may mean other contents. */
  readonly modelDigest: string;
  /** Digest of the tenant, 16 hexadecimal digits: all that a purge needs, and no name of anybody. */
  readonly tenantTag: string;
  readonly namespaceDigest: string;
  readonly digest: string;
}

const root = 'stator-kv/v1';
const parts =
  /^stator-kv\/v1\/([\w.-]{1,128})@([0-9a-f]{16})\/([0-9a-f]{16})\/([0-9a-f]{32})\/([0-9a-f]{3})\/([0-9a-f]{32})$/;

/** `stator-kv/v1/MODEL@CONTENTS/TENANT/NAMESPACE/abc/DIGEST`, spread over 4096 folders by the digest's beginning. */
export function objectKey(name: ObjectName): string {
  return `${namespaceFolder(name)}${name.digest.slice(0, 3)}/${name.digest}`;
}

/** What a key says; undefined for one that is not of a block. The model's name is as the key spells it. */
export function parseObjectKey(key: string): ObjectName | undefined {
  const found = parts.exec(key);
  if (found === null) return undefined;
  const [, model = '', modelDigest = '', tenantTag = '', namespaceDigest = '', spread = '', digest = ''] = found;
  return digest.startsWith(spread) ? { model, modelDigest, tenantTag, namespaceDigest, digest } : undefined;
}

/** Beginning of the keys of all blocks of a model's contents. */
export function modelFolder({ model, modelDigest }: Pick<ObjectName, 'model' | 'modelDigest'>): string {
  return `${root}/${model.replace(/[^\w.-]/g, '_').slice(0, 128)}@${modelDigest}/`;
}

/** Beginning of the keys of a tenant's blocks of a model: what a purge deletes. */
export function tenantFolder(name: Pick<ObjectName, 'model' | 'modelDigest' | 'tenantTag'>): string {
  return `${modelFolder(name)}${name.tenantTag}/`;
}

export function namespaceFolder(name: Omit<ObjectName, 'digest'>): string {
  return `${tenantFolder(name)}${name.namespaceDigest}/`;
}

/** A digest in words as keys spell it: bytes in order, two digits each. */
export function digestHex(digests: Uint32Array, index = 0): string {
  const bytes = new Uint8Array(digests.buffer, digests.byteOffset + 16 * index, 16);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
