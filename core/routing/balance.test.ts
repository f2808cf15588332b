import { expect } from 'chai';
import { ActiveSequences } from '#core/sequences/active-sequences.ts';
import { chained, seeded } from '#core/sequences/twin.test-support.ts';
import { CandidateTable } from './candidate-table.ts';
import type { CostSettings } from './cost-settings.ts';
import { createPolicy, type PolicyName } from './factory.ts';
import type { Random, RoutingPolicy } from './policy.ts';

const workers = 5;
const blockSize = 16;

/** Workers whose requests run until so many others have been placed after them. */
class Fleet {
  /** Requests that each worker got. */
  readonly placed: number[] = Array.from({ length: workers }, () => 0);
  readonly random: Random = seeded(21);
  readonly #policy: RoutingPolicy;
  readonly #inFlight: number;
  readonly #active = new ActiveSequences();
  readonly #table = new CandidateTable();
  readonly #shared = new Uint32Array(workers);
  #next = 0;

  constructor(policy: PolicyName, inFlight: number, cost: Partial<CostSettings>) {
    this.#policy = createPolicy(policy, { cost });
    this.#inFlight = inFlight;
  }

  /** Places a prompt of which each worker has so many blocks, and returns the worker. */
  place(content: readonly number[], deviceBlocks: readonly number[]): number {
    const request = { blockSize, promptTokens: content.length * blockSize, sequenceHashes: chained(content) };
    const active = this.#active;
    const table = this.#table;
    const blocks = active.potentialBlocks(request, this.#shared);
    table.clear();
    for (let slot = 0; slot < workers; slot++)
      table.push({
        instanceId: BigInt(slot + 1),
        slot,
        activeRequests: active.activeRequests(slot),
        activePrefillTokens: active.activePrefillTokens(slot, 0),
        activeBlocks: active.activeBlocks(slot),
        activeTokens: active.activeTokens(slot),
        newBlocks: blocks - (this.#shared[slot] ?? 0),
        deviceBlocks: deviceBlocks[slot] ?? 0,
      });
    const prompt = { promptTokens: request.promptTokens, blockSize, blocks: content.length };
    this.#policy.weigh(table, prompt);
    const slot = this.#policy.pick(table, prompt, this.random);
    this.placed[slot] = (this.placed[slot] ?? 0) + 1;
    const id = this.#next++;
    active.add('gateway', String(id), { ...request, slot, cachedTokens: (deviceBlocks[slot] ?? 0) * blockSize }, 0);
    if (this.random() < 0.7) active.prefillDone('gateway', String(id - 1), 0);
    active.finish('gateway', String(id - this.#inFlight), 0);
    return slot;
  }
}

/** Requests that each worker gets, of single turns with nothing in common but a system prompt that all have cached. */
function singleTurns(policy: PolicyName, inFlight: number, cost: Partial<CostSettings> = {}): number[] {
  const fleet = new Fleet(policy, inFlight, cost);
  for (let i = 0; i < 4000; i++) {
    const tail = Array.from({ length: 2 + Math.floor(fleet.random() * 12) }, () => i);
    fleet.place([1, 2, ...tail], [2, 2, 2, 2, 2]);
  }
  return fleet.placed;
}

/** Conversations that grow turn by turn, on workers that keep what they computed: how often one is where most of its prefix is. */
function conversations(policy: PolicyName, cost: Partial<CostSettings> = {}): { hits: number; placed: number[] } {
  const fleet = new Fleet(policy, 3, cost);
  const kept = Array.from({ length: workers }, () => new Map<number, number>());
  const lengths = Array.from({ length: 60 }, () => 8);
  let hits = 0;
  for (let i = 0; i < 3000; i++) {
    const talk = Math.floor(fleet.random() * lengths.length);
    const length = (lengths[talk] ?? 0) + 4;
    const cached = kept.map((worker) => Math.min(length, worker.get(talk) ?? 0));
    const content = Array.from({ length }, () => talk);
    const slot = fleet.place(content, cached);
    if (cached[slot] === Math.max(...cached)) hits++;
    kept[slot]?.set(talk, length);
    lengths[talk] = length < 100 ? length : 8;
    if (length >= 100) for (const worker of kept) worker.delete(talk);
  }
  return { hits: hits / 3000, placed: fleet.placed };
}

describe('balance of single turns', () => {
  for (const name of ['kv', 'kv-v08', 'lmetric', 'two-tier', 'token-balance', 'least-loaded'] as const)
    it(`${name} starves no worker while requests overlap`, () => {
      for (const placed of singleTurns(name, 40)) expect(placed).to.be.within(720, 880);
    });

  it('spreads requests that never overlap at random', () => {
    for (const placed of singleTurns('kv', 0)) expect(placed).to.be.within(720, 880);
  });

  it('stays even at a temperature', () => {
    for (const placed of singleTurns('kv', 40, { temperature: 0.5 })) expect(placed).to.be.within(720, 880);
  });
});

describe('conversations', () => {
  it('return to where their prefix is the more often, the dearer prefill is, and leave no worker idle', () => {
    const byLoad = conversations('least-loaded').hits;
    const byScale = [1, 2, 4].map((prefillLoadScale) => conversations('kv', { prefillLoadScale }));
    const [one = 0, two = 0, four = 0] = byScale.map(({ hits }) => hits);
    expect(one).to.be.greaterThan(byLoad + 0.1);
    expect(two).to.be.greaterThan(one + 0.1);
    expect(four).to.be.greaterThan(two + 0.1);
    for (const requests of byScale.flatMap(({ placed }) => placed)) expect(requests).to.be.within(450, 750);
  });

  it('return nearly always where load is no cost', () => {
    expect(conversations('kv', { prefillLoadScale: 1000 }).hits).to.be.greaterThan(0.95);
  });
});
