import type { BlockChain } from '#core/blocks/chain.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { KvbmContext } from './context.ts';
import type { Layout } from './layout.ts';
import { OnboardRun } from './onboard.ts';

/** Hints that blocks will be wanted: they are brought into host memory and left there unpinned. Bounded: hints beyond are dropped. */
export class Prefetches {
  readonly #context: KvbmContext;
  readonly #running = new Map<string, Promise<void>>();

  constructor(context: KvbmContext) {
    this.#context = context;
  }

  /** How many known blocks of the chain are below host memory and on their way now. */
  begin(chain: BlockChain, layout: Layout): number {
    const { manager, lower, config, metrics } = this.#context;
    const below = manager
      .scan(chain.namespace, chain.digests)
      .filter((tier) => tier === tiers.disk || tier === tiers.object);
    const isIdle = lower.sources.length === 0;
    const key = `${chain.namespace}:${chain.digests.subarray(-4).join()}`;
    const outcome = isIdle
      ? 'nothing_below'
      : this.#running.has(key)
        ? 'under_way'
        : this.#running.size >= config.maxPrefetches
          ? 'dropped'
          : 'begun';
    metrics.prefetches(1, outcome);
    if (outcome === 'begun') this.#running.set(key, this.#run(chain, layout, key));
    return outcome === 'begun' ? below.length : 0;
  }

  async #run(chain: BlockChain, layout: Layout, key: string): Promise<void> {
    const { onboarding, self, config, nowMs, stopping, host, log } = this.#context;
    const run = new OnboardRun(onboarding, {
      ...{ holder: self, layout, chain, recomputeBlockMs: undefined, signal: stopping },
      deadlineMs: nowMs() + config.onboardTimeoutMs,
      window: config.onboardWindow,
      maxLoad: config.onboardLoadBlocks,
      loadsPerSource: config.onboardLoadsPerSource,
      findTimeoutMs: config.findTimeoutMs,
    });
    try {
      for await (const { lease } of run.run()) host.release(self, lease.id);
    } catch (error) {
      log.warn({ err: error }, 'a prefetch failed');
    } finally {
      this.#running.delete(key);
    }
  }
}
