import { expect } from 'chai';
import { type SimulatedEngine, stepFlags } from './engine-model.ts';
import type { EngineKind, EngineSettings } from './settings.ts';
import { createSimulatedEngine } from './simulated-engine.ts';
import { CacheFollower, random, requestOf, settingsOf, snapshotBlocks } from './workload.test-support.ts';

const roles = ['aggregated', 'aggregated', 'prefill', 'decode'] as const;

/** Throws everything at an engine: all roles, cancellations at any time, cleared caches, handoffs released late. */
class Chaos {
  readonly engine: SimulatedEngine;
  readonly follower = new CacheFollower();
  readonly #next: () => number;
  readonly #settings: EngineSettings;
  readonly #alive = new Set<number>();
  readonly #handoffs = new Set<number>();
  #nowMs = 0;
  #nextId = 1;

  constructor(seed: number, settings: EngineSettings) {
    this.#next = random(seed);
    this.#settings = settings;
    this.engine = createSimulatedEngine(settings);
  }

  run(rounds: number): void {
    for (let round = 0; round < rounds; round++) {
      const dice = this.#next();
      if (dice < 0.3) this.#submit();
      else if (dice < 0.38) this.#cancel();
      else if (dice < 0.4) this.engine.clearCache();
      else if (dice < 0.5) this.#release();
      else this.#pass();
      this.#check();
    }
    for (const id of this.#handoffs) this.engine.releaseHandoff(id);
    this.#handoffs.clear();
    for (let passes = 0; this.engine.size > 0; passes++) {
      if (passes > 20_000) throw new Error(`${this.engine.size} sequences do not come to an end`);
      this.#pass();
      this.#release();
    }
  }

  #submit(): void {
    const id = this.#nextId++;
    const most = Math.min(this.#settings.contextLength, this.#settings.totalBlocks * this.#settings.blockSize);
    const tokens = 1 + Math.floor(this.#next() * Math.min(most - 1, 60));
    const role = roles[Math.floor(this.#next() * roles.length)] ?? 'aggregated';
    const maxTokens = 1 + Math.floor(this.#next() * 20);
    const shape = { tokens, maxTokens, role, arrivalMs: this.#nowMs, priority: Math.floor(this.#next() * 3) };
    const prefix = { family: Math.floor(this.#next() * 2), shared: Math.floor(this.#next() * tokens) };
    const { blockSize } = this.#settings;
    this.engine.submit(
      requestOf(id, { ...shape, ...prefix, blockSize, bypassPrefixCache: this.#next() < 0.1 }),
      this.#nowMs,
    );
    this.#alive.add(id);
  }

  #cancel(): void {
    const ids = [...this.#alive];
    const id = ids[Math.floor(this.#next() * ids.length)];
    if (id === undefined) return;
    expect(this.engine.cancel(id)).to.equal(true);
    this.#alive.delete(id);
  }

  #release(): void {
    const [id] = this.#handoffs;
    if (id === undefined) return;
    expect(this.engine.releaseHandoff(id)).to.equal(true);
    this.#handoffs.delete(id);
  }

  #pass(): void {
    if (this.#next() < 0.3) {
      const run = this.engine.run(this.#nowMs, this.#nowMs + 100 * this.#next(), 10);
      this.#nowMs = run?.endMs ?? this.#nowMs;
    }
    const step = this.engine.step(this.#nowMs);
    if (step === undefined) {
      this.#nowMs = Math.max(this.#nowMs, this.engine.wakeAtMs ?? 0);
      return;
    }
    this.#nowMs += step.durationMs;
    for (let i = 0; i < step.count; i++) {
      const id = step.ids[i] ?? 0;
      const flags = step.flags[i] ?? 0;
      expect(this.#alive.has(id), `tokens for ${id}`).to.equal(true);
      if ((flags & stepFlags.finished) !== 0) this.#alive.delete(id);
      if ((flags & stepFlags.handoff) !== 0) this.#handoffs.add(id);
    }
  }

  #check(): void {
    this.follower.apply(this.engine.takeKvChanges());
    expect(this.follower.blocks(), 'events replayed').to.deep.equal(snapshotBlocks(this.engine));
    expect(this.engine.size).to.equal(this.#alive.size);
    const { running, waiting, activeBlocks, cachedBlocks, pendingPrefillTokens } = this.engine.load;
    expect(running + waiting).to.equal(this.#alive.size);
    expect(running).to.be.at.most(this.#settings.maxSequences);
    expect(activeBlocks + cachedBlocks).to.be.at.most(this.#settings.totalBlocks);
    expect(pendingPrefillTokens).to.be.at.least(0);
    if (this.#alive.size === 0) expect(pendingPrefillTokens).to.equal(0);
    if (this.#alive.size + this.#handoffs.size === 0) expect(activeBlocks).to.equal(0);
  }
}

const transfer = { gigabytesPerSecond: 0.001, bytesPerToken: 300, mode: 'destination_missing' } as const;
const offload = {
  hostBlocks: 12,
  diskBlocks: 12,
  hostGigabytesPerSecond: 0.001,
  diskGigabytesPerSecond: 0,
  bytesPerToken: 100,
};

describe('simulated engine: everything at once', () => {
  for (const kind of ['vllm', 'sglang', 'trtllm'] satisfies EngineKind[])
    for (const [name, changes] of Object.entries({
      plain: {},
      'few blocks': { totalBlocks: 20, maxSequences: 5 },
      'transfer and tiers': { totalBlocks: 24, transfer, offload },
      'speculation, blocks of one token': { acceptRates: [0.6], blockSize: 1, totalBlocks: 90 },
    }))
      it(`${kind}: ${name}`, () => {
        for (let seed = 1; seed <= 6; seed++) {
          const chaos = new Chaos(seed, settingsOf({ kind, maxSequences: 8, ...changes }));
          chaos.run(300);
          expect(chaos.engine.load).to.include({ running: 0, waiting: 0, activeBlocks: 0, pendingPrefillTokens: 0 });
        }
      });
});
