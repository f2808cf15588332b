import type { BlockChain } from '../chain.ts';

/** Prompts that share beginnings: node n goes on from node (n - 1) >> 1, and a prompt is the path to a node. */
export function pathTo(node: number): number[] {
  const path: number[] = [];
  for (let at = node; at >= 0; at = at === 0 ? -1 : (at - 1) >> 1) path.unshift(at);
  return path;
}

/** Blocks `from` to before `to` of the prompt that ends with a node. */
export function chainOf(namespace: number, node: number, from = 0, to = Number.POSITIVE_INFINITY): BlockChain {
  const path = pathTo(node);
  const blocks = path.slice(from, to);
  const before = path[from - 1];
  return {
    namespace,
    startBlock: from,
    parent: before === undefined ? null : { digest: digestsOf([before]), sequenceHash: hashOf(before) },
    digests: digestsOf(blocks),
    sequenceHashes: BigUint64Array.from(blocks, hashOf),
  };
}

export function digestsOf(nodes: readonly number[]): Uint32Array {
  return Uint32Array.from(nodes.flatMap((node) => [node, Math.imul(node, 0x9e3779b1) >>> 0, 0, ~node >>> 0]));
}

export function hashOf(node: number): bigint {
  return (BigInt(node + 1) << 33n) | 5n;
}

/** The bytes of a block, as one number that no other block of any namespace has. */
export function contentOf(namespace: number, node: number): number {
  return 100_000 * (namespace + 1) + node;
}

/** A checksum of bytes, as low and high word. */
export function checksumOf(content: number): readonly [low: number, high: number] {
  return [Math.imul(content, 0x85ebca6b) >>> 0, (content ^ 0x5bd1e995) >>> 0];
}
