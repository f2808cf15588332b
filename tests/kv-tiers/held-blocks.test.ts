import { expect } from 'chai';
import fc from 'fast-check';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { TestKvbm } from '#services/kvbm/kvbm.test-support.ts';
import type { Engine } from '#services/workers/common/engine.ts';
import { EngineAround } from '#services/workers/common/engine-around.ts';
import type { EngineKv } from '#services/workers/common/engine-kv.ts';
import type { KvTierConfig } from '#services/workers/common/kv-tiers/settings.ts';
import { MockerEngine } from '#services/workers/mocker/engine.ts';
import { until } from '#tests/support/until.ts';
import { promptOf, TieredWorker } from './tiered-worker.ts';

const blockSize = 16;
const kvBlocks = 64;
const name = (rest: string) => `stator_worker_kv_${rest}`;

/** Copies out of the engine wait until it is opened. */
class Gate {
  readonly #opened = Promise.withResolvers<void>();

  open(): void {
    this.#opened.resolve();
  }

  around(engine: Engine): Engine {
    const opened = this.#opened.promise;
    let known: EngineKv | undefined;
    const gated = (kv: EngineKv): EngineKv => ({
      get format() {
        return kv.format;
      },
      adapterDigest: (adapter) => kv.adapterDigest(adapter),
      cachedBlocks: (prefix) => kv.cachedBlocks(prefix),
      exportBlocks: async (...order) => {
        await opened;
        return kv.exportBlocks(...order);
      },
      importBlocks: (...order) => kv.importBlocks(...order),
    });
    return new (class extends EngineAround {
      override get kv(): EngineKv | undefined {
        if (known === undefined && engine.kv !== undefined) known = gated(engine.kv);
        return known;
      }
    })(engine);
  }
}

/** A block manager, and a worker whose blocks wait for the gate. */
async function withWaiting(
  settings: Partial<KvTierConfig>,
  body: (worker: TieredWorker, gate: Gate) => Promise<void>,
): Promise<void> {
  const kvbm = await new TestKvbm({ hostMib: 16, heartbeatMs: 5000 }).start();
  const gate = new Gate();
  const mocker = new MockerEngine({ blockSize, kvBlockBytes: 2000, kvBlocks, meanOutputTokens: 0 });
  const worker = new TieredWorker(gate.around(mocker), kvbm.address, { kvOnboard: 'off', ...settings });
  try {
    await worker.start();
    await worker.attached();
    // From the first block on, whose namespace had to be opened, blocks are offered before the next prompt runs.
    await worker.run(promptOf(99, 99, blockSize));
    await until('the first block waits', async () => (await offered(worker)) === 1);
    await body(worker, gate);
  } finally {
    gate.open();
    await worker[Symbol.asyncDispose]();
    await kvbm.close();
  }
}

function evicted(worker: TieredWorker): Promise<number> {
  return worker.metric(name('offload_dropped_blocks_total'), { reason: 'evicted' });
}

/** Blocks that wait or waited, held or not, while none is written. */
async function offered(worker: TieredWorker): Promise<number> {
  const counts = [name('offload_held_blocks'), name('offload_unheld_blocks_total')].map((each) => worker.metric(each));
  return (await Promise.all(counts)).reduce((sum, blocks) => sum + blocks);
}

/** Everything that waited is written or dropped, and nothing is held any more. */
function settled(worker: TieredWorker): Promise<unknown> {
  return until('nothing is held', async () => {
    const left = [
      await worker.metric(name('offload_held_blocks')),
      await worker.metric(name('offload_waiting_blocks')),
    ];
    return left.every((blocks) => blocks === 0);
  });
}

describe('KV blocks that wait to be written back', function () {
  this.timeout(180_000);
  // Three times what the cache holds, 8 blocks each.
  const prompts = Array.from({ length: 24 }, (_, i) => promptOf(i, i, 8 * blockSize));

  it('are lost to eviction where none are held', async () => {
    await withWaiting({ kvOffloadHoldShare: 0 }, async (worker, gate) => {
      for (const prompt of prompts) await worker.run(prompt);
      expect(await worker.metric(name('offload_held_blocks'))).to.equal(0);
      gate.open();
      await until('some were evicted', async () => (await evicted(worker)) > 0);
      await settled(worker);
    });
  });

  it('stay in the cache up to the share that is set, and all of those are written', async () => {
    await withWaiting({ kvOffloadHoldShare: 0.5 }, async (worker, gate) => {
      for (const prompt of prompts) await worker.run(prompt);
      const all = 1 + prompts.length * 8;
      await until('every block was offered', async () => (await offered(worker)) === all);
      const held = await worker.metric(name('offload_held_blocks'));
      // The first block, and whole prompts.
      expect(held).to.equal(1 + 3 * 8);
      for (const prompt of prompts.slice(0, 3)) expect(worker.cached(prompt)).to.equal(8);
      gate.open();
      await settled(worker);
      expect(await worker.metric(name('offloaded_blocks_total'))).to.be.at.least(held);
      expect(await evicted(worker)).to.be.at.most(all - held);
    });
  });

  it('go with all others when the cache is emptied', async () => {
    await withWaiting({ kvOffloadHoldShare: 0.5 }, async (worker) => {
      for (const prompt of prompts) await worker.run(prompt);
      await until('some are held', async () => (await worker.metric(name('offload_held_blocks'))) > 8);
      await worker.engine.clearCache();
      expect(await worker.metric(name('offload_held_blocks'))).to.equal(0);
      for (const prompt of prompts) expect(worker.cached(prompt)).to.equal(0);
    });
  });

  it('are held within the bound, never stop a sequence, and are never lost while held, whatever runs', async () => {
    const visit = fc.record({
      family: fc.integer({ min: 0, max: 5 }),
      member: fc.integer({ min: 0, max: 3 }),
      tokens: fc.integer({ min: blockSize, max: 11 * blockSize }),
      maxTokens: fc.integer({ min: 1, max: 3 * blockSize }),
    });
    const shares = fc.constantFrom(0, 0.1, 0.25, 0.5);
    const runs = fc.array(visit, { minLength: 1, maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(shares, runs, fc.nat(24), async (kvOffloadHoldShare, visits, openAt) => {
        await withWaiting({ kvOffloadHoldShare }, async (worker, gate) => {
          for (const [i, { family, member, tokens, maxTokens }] of visits.entries()) {
            if (i === openAt) gate.open();
            const { reason } = await worker.run(promptOf(family, member, tokens), { maxTokens });
            expect(reason).to.equal(FinishReason.LENGTH);
            expect(await worker.metric(name('offload_held_blocks'))).to.be.at.most(kvBlocks * kvOffloadHoldShare);
          }
          gate.open();
          await settled(worker);
          expect(await evicted(worker)).to.be.at.most(await worker.metric(name('offload_unheld_blocks_total')));
        });
      }),
      { numRuns: 12 },
    );
  });
});
