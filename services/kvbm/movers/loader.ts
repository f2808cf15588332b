import type { BlockChain } from '#core/blocks/chain.ts';
import type { SourceCost } from '#core/blocks/onboarding/plan.ts';
import type { Layout } from '../layout.ts';
import type { BlockSource, LoadRequest, TierParts } from '../tiers.ts';
import { type CostGuess, SourceCosts } from './costs.ts';
import type { Depot } from './depot.ts';
import { LoadRun } from './load-run.ts';
import type { MoverMetrics } from './metrics.ts';

/** A block on its way into host memory. Others who want it wait instead of loading it again. */
export interface Flight {
  /** Called in the same turn in which it ends: the block is in host memory, or it is not. */
  readonly waiting: Set<() => void>;
}

export interface LoaderParts extends TierParts {
  readonly depot: Depot;
  readonly moverMetrics: MoverMetrics;
  readonly guess: CostGuess;
  /** Of all sources of this node. */
  readonly flights: Map<string, Flight>;
  /** Blocks that the depot has and the manager does not know of; unset: none. */
  readonly find?: BlockSource['find'];
}

/** Loads blocks from one lower tier into host memory. */
export class Loader implements BlockSource {
  readonly source: number;
  readonly parts: LoaderParts;
  readonly holder: number;
  readonly costs: SourceCosts;
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor(parts: LoaderParts) {
    this.parts = parts;
    this.source = parts.depot.tier;
    this.holder = parts.manager.attach();
    this.costs = new SourceCosts(parts.guess);
  }

  async find(chain: BlockChain, layout: Layout, from: number, signal: AbortSignal): Promise<number> {
    if (!this.parts.depot.answers()) return 0;
    return (await this.parts.find?.(chain, layout, from, signal)) ?? 0;
  }

  cost(blockBytes: number): SourceCost {
    // Nobody should wait for what does not work.
    if (!this.parts.depot.answers()) return { latencyMs: Number.POSITIVE_INFINITY, blockMs: Number.POSITIVE_INFINITY };
    return this.costs.cost(blockBytes);
  }

  async load(request: LoadRequest): Promise<number> {
    const run = new LoadRun(this, request);
    this.track(run.ended);
    return run.result;
  }

  /** Work that must be over before the memory it writes to goes. */
  track(work: Promise<unknown>): void {
    this.#running.add(work);
    const ended = (): boolean => this.#running.delete(work);
    void work.then(ended, ended);
  }

  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
    this.parts.manager.detach(this.holder, true);
  }
}
