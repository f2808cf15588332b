import { type Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Discovery, Watch } from '#lib/discovery/discovery.ts';
import type { PeerMetrics } from './metrics.ts';
import { type NodeOptions, PeerNode } from './node.ts';
import { mayHave } from './summary.ts';

const leastPatienceMs = 2000;

export interface DirectoryOptions extends NodeOptions {
  readonly discovery: Discovery;
  /** This node's own instance. */
  readonly instanceId: bigint;
  readonly summaryMs: number;
  readonly fanout: number;
  readonly probes: number;
  readonly metrics: PeerMetrics;
}

/** Blocks that are looked for. Digests: 4 words each. */
export interface Sought {
  readonly namespaceDigest: Uint32Array;
  readonly digests: Uint32Array;
}

/** The block managers of other nodes, as discovery knows them, and what they say that they have. */
export class PeerDirectory {
  readonly #options: DirectoryOptions;
  readonly #nodes = new Map<bigint, PeerNode>();
  readonly #watch: Watch;
  readonly #timer: NodeJS.Timeout;

  constructor(options: DirectoryOptions) {
    this.#options = options;
    this.#watch = options.discovery.watch(ServiceKind.KVBM, {
      onUp: (instance) => this.#up(instance),
      onChange: (instance, before) => {
        if (instance.address === before.address && instance.tls === before.tls) return;
        this.#down(instance.instanceId);
        this.#up(instance);
      },
      onDown: ({ instanceId }) => this.#down(instanceId),
    });
    this.#timer = setInterval(() => this.#refresh(), options.summaryMs);
    this.#timer.unref();
  }

  get size(): number {
    return this.#nodes.size;
  }

  get(id: bigint): PeerNode | undefined {
    return this.#nodes.get(id);
  }

  /**
   * Whom to ask, best first: nodes by how many leading blocks their summaries promise, then a few of the others by
   * rendezvous hash of the first block. Blocks are where their workers are, which no hash tells; but a summary is some
   * seconds old, and the same few nodes asked for a new prompt each time soon have it.
   */
  candidates({ namespaceDigest, digests }: Sought): PeerNode[] {
    const { fanout, probes } = this.#options;
    const usable = [...this.#nodes.values()].filter((node) => node.isUsable);
    const promised = usable
      .map((node) => ({ node, blocks: promisedBlocks(node, namespaceDigest, digests) }))
      .filter(({ blocks }) => blocks > 0)
      .toSorted((a, b) => b.blocks - a.blocks)
      .slice(0, fanout)
      .map(({ node }) => node);
    const others = usable
      .filter((node) => !promised.includes(node))
      .map((node) => ({ node, weight: rendezvous(node.id, digests[0] ?? 0, digests[1] ?? 0) }))
      .toSorted((a, b) => b.weight - a.weight)
      .slice(0, Math.min(probes, fanout - promised.length));
    return [...promised, ...others.map(({ node }) => node)];
  }

  close(): void {
    clearInterval(this.#timer);
    this.#watch.close();
    for (const id of [...this.#nodes.keys()]) this.#down(id);
  }

  /** A node that says nothing for so long is not asked for blocks either. */
  get #patienceMs(): number {
    return Math.max(leastPatienceMs, this.#options.summaryMs);
  }

  #up(instance: Instance): void {
    if (instance.instanceId === this.#options.instanceId || this.#nodes.has(instance.instanceId)) return;
    const node = new PeerNode(instance, this.#options);
    this.#nodes.set(node.id, node);
    this.#options.metrics.peers.set(this.#nodes.size);
    node.refresh(this.#patienceMs).catch(() => {});
  }

  #down(id: bigint): void {
    this.#nodes.get(id)?.close();
    this.#nodes.delete(id);
    this.#options.metrics.peers.set(this.#nodes.size);
  }

  #refresh(): void {
    for (const node of this.#nodes.values())
      if (node.isUsable) node.refresh(this.#patienceMs).catch(() => node.failed());
  }
}

function promisedBlocks(node: PeerNode, namespaceDigest: Uint32Array, digests: Uint32Array): number {
  const { summary } = node;
  if (summary === undefined) return 0;
  const count = digests.length / 4;
  let blocks = 0;
  while (blocks < count && mayHave(summary, namespaceDigest, digests.subarray(4 * blocks, 4 * blocks + 4))) blocks++;
  return blocks;
}

/** Highest random weight (Thaler and Ravishankar, 1996): each block has its own order of nodes, which others' coming leaves. */
function rendezvous(node: bigint, low: number, high: number): number {
  let mixed = Number(node & 0xffff_ffffn) ^ low;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b) ^ Number(node >> 32n) ^ high;
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
