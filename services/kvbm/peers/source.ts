import type { BlockChain } from '#core/blocks/chain.ts';
import { peerSource, type SourceCost } from '#core/blocks/onboarding/plan.ts';
import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Layout } from '../layout.ts';
import { wordsOf } from '../records.ts';
import type { BlockSource, LoadRequest } from '../tiers.ts';
import type { PeerDirectory } from './directory.ts';
import type { PeerNode } from './node.ts';
import { type PullOptions, pullBlocks } from './pull.ts';
import { Routes } from './routes.ts';

const routeLimit = 65_536;
const routeLifetimeMs = 10_000;
/** Until something was measured. */
const firstLatencyMs = 3;
const firstBytesPerMs = 500_000;
/** Weight of the newest figure. */
const newest = 0.2;

export interface PeerSourceOptions extends PullOptions {
  readonly directory: PeerDirectory;
  readonly findMs: number;
  readonly loadMs: number;
  readonly maxPulls: number;
}

/** Other nodes as a place where blocks come from. */
export class PeerSource implements BlockSource {
  readonly source = peerSource;
  readonly #options: PeerSourceOptions;
  readonly #routes = new Routes(routeLimit, routeLifetimeMs);
  #pulling = 0;
  #latencyMs = firstLatencyMs;
  #bytesPerMs = firstBytesPerMs;

  constructor(options: PeerSourceOptions) {
    this.#options = options;
  }

  /** Asks a few nodes at once and takes the one with most; never waits longer than its deadline for the others. */
  async find(chain: BlockChain, layout: Layout, from: number, signal: AbortSignal): Promise<number> {
    const { directory, parts, findMs } = this.#options;
    const count = chain.sequenceHashes.length - from;
    if (directory.size === 0 || count <= 0 || signal.aborted) return 0;
    const digests = chain.digests.subarray(4 * from);
    const namespace = parts.manager.namespaceAt(chain.namespace).digest;
    const nodes = directory.candidates({ namespaceDigest: wordsOf(namespace), digests });
    if (nodes.length === 0) return 0;
    const enough = new AbortController();
    const limit = AbortSignal.any([signal, enough.signal, AbortSignal.timeout(findMs)]);
    let best: { node: PeerNode; blocks: number } | undefined;
    const asked = nodes.map(async (node) => {
      const blocks = await this.#ask(node, layout, namespace, digests, limit);
      if (blocks > (best?.blocks ?? 0)) best = { node, blocks };
      if (blocks === count) enough.abort();
    });
    await Promise.all(asked);
    if (best === undefined) return 0;
    this.#routes.learn(chain, from, best.blocks, best.node.id, parts.nowMs());
    return best.blocks;
  }

  cost(blockBytes: number): SourceCost {
    return { latencyMs: this.#latencyMs, blockMs: blockBytes / this.#bytesPerMs };
  }

  async load(request: LoadRequest): Promise<number> {
    const { metrics, maxPulls, loadMs, parts } = this.#options;
    const { chain, from, count, signal, deadlineMs, layout } = request;
    const node = await this.#nodeFor(chain, layout, from, signal);
    if (node === undefined) return 0;
    if (this.#pulling >= maxPulls) {
      metrics.loads.inc({ backend: 'none', outcome: 'overloaded' });
      return 0;
    }
    const startMs = parts.nowMs();
    const timeoutMs = Math.ceil(Math.min(loadMs, deadlineMs - startMs));
    if (timeoutMs <= 0) return 0;
    metrics.pulling.set(++this.#pulling);
    try {
      const { blocks, bytes, backend } = await pullBlocks(this.#options, node, request, timeoutMs);
      this.#measured(bytes, parts.nowMs() - startMs);
      metrics.loads.inc({ backend, outcome: blocks === count ? 'ok' : 'short' });
      metrics.loadedBytes.inc(bytes);
      node.succeeded();
      if (blocks < count) this.#routes.forget(chain, from + blocks, count - blocks);
      return blocks;
    } catch (thrown) {
      this.#routes.forget(chain, from, count);
      if (!(thrown instanceof StatorError)) throw thrown;
      metrics.loads.inc({ backend: 'none', outcome: thrown.code });
      if (!signal.aborted) {
        node.failed();
        node.disconnect();
        parts.log.debug({ err: thrown }, 'blocks did not come from another node');
      }
      return 0;
    } finally {
      metrics.pulling.set(--this.#pulling);
      metrics.loadSeconds.observe((parts.nowMs() - startMs) / 1000);
    }
  }

  async #nodeFor(chain: BlockChain, layout: Layout, from: number, signal: AbortSignal): Promise<PeerNode | undefined> {
    const known = (): PeerNode | undefined => {
      const id = this.#routes.find(chain, from, this.#options.parts.nowMs());
      return id === undefined ? undefined : this.#options.directory.get(id);
    };
    const node = known();
    if (node !== undefined) return node;
    return (await this.find(chain, layout, from, signal)) > 0 ? known() : undefined;
  }

  /** Blocks that one node has; 0 also when it does not answer in time. */
  async #ask(
    node: PeerNode,
    { format, blockBytes, blockTokens, dtype }: Layout,
    namespace: string,
    digests: Uint32Array,
    signal: AbortSignal,
  ): Promise<number> {
    const request = {
      layout: { format, blockBytes: BigInt(blockBytes), blockTokens, dtype },
      namespaceDigest: Buffer.from(namespace, 'hex'),
      digests: new Uint8Array(digests.buffer, digests.byteOffset, digests.byteLength),
    };
    const { asked } = this.#options.metrics;
    try {
      const { tiers } = await node.client.findBlocks(request, { signal });
      const end = tiers.findIndex((tier) => tier !== BlockTier.HOST && tier !== BlockTier.DISK);
      const blocks = Math.min(end === -1 ? tiers.length : end, digests.length / 4);
      asked.inc({ outcome: blocks > 0 ? 'found' : 'nothing' });
      return blocks;
    } catch {
      asked.inc({ outcome: signal.aborted ? 'late' : 'failed' });
      if (!signal.aborted) node.failed();
      return 0;
    }
  }

  #measured(bytes: number, ms: number): void {
    if (bytes === 0 || ms <= 0) return;
    const copyingMs = Math.max(ms - this.#latencyMs, ms / 4);
    this.#bytesPerMs += newest * (bytes / copyingMs - this.#bytesPerMs);
    this.#latencyMs += newest * (Math.max(0.1, ms - bytes / this.#bytesPerMs) - this.#latencyMs);
  }
}
