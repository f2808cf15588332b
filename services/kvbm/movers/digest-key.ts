/** A block of a namespace as a key of a map. */
export function digestKey(namespace: number, digest: Uint32Array): string {
  return `${namespace}:${digest[0]}:${digest[1]}:${digest[2]}:${digest[3]}`;
}
