import { expect } from 'chai';
import { ActiveSequences } from '#core/sequences/active-sequences.ts';
import { chained, seeded } from '#core/sequences/twin.test-support.ts';
import { CandidateTable } from './candidate-table.ts';
import type { CostSettings } from './cost-settings.ts';
import { createPolicy, type PolicyName } from './factory.ts';
import { fillLoads, fillOverlaps } from './fill.ts';

const workers = 5;
const blockSize = 16;

/** Requests that each worker gets, of single turns with nothing in common but a system prompt that all have cached. */
function shares(policyName: PolicyName, inFlight: number, cost: Partial<CostSettings> = {}): number[] {
  const random = seeded(21);
  const policy = createPolicy(policyName, { cost });
  const active = new ActiveSequences();
  const table = new CandidateTable();
  const scratch = new Uint32Array(workers);
  const none = new Uint32Array(workers);
  const overlaps = { device: new Uint32Array(workers).fill(2), host: none, disk: none, external: none };
  const placed = Array.from({ length: workers }, () => 0);
  for (let i = 0; i < 4000; i++) {
    const blocks = 4 + Math.floor(random() * 12);
    const sequenceHashes = chained([1, 2, ...Array.from({ length: blocks - 2 }, () => i)]);
    const request = { blockSize, promptTokens: blocks * blockSize, sequenceHashes };
    table.clear();
    for (let slot = 0; slot < workers; slot++) table.add(BigInt(slot + 1), 0, slot);
    fillLoads(table, active, request, scratch, 0);
    fillOverlaps(table, overlaps);
    const prompt = { promptTokens: request.promptTokens, blockSize, blocks };
    policy.weigh(table, prompt);
    const slot = policy.pick(table, prompt, random);
    placed[slot] = (placed[slot] ?? 0) + 1;
    active.add('gateway', String(i), { ...request, slot, cachedTokens: 2 * blockSize }, 0);
    if (random() < 0.7) active.prefillDone('gateway', String(i - 1), 0);
    if (i >= inFlight) active.finish('gateway', String(i - inFlight), 0);
  }
  return placed;
}

describe('balance of single turns', () => {
  for (const name of ['kv', 'kv-v08', 'lmetric', 'two-tier', 'token-balance', 'least-loaded'] as const)
    it(`${name} starves no worker while requests overlap`, () => {
      for (const placed of shares(name, 40)) expect(placed).to.be.within(720, 880);
    });

  it('spreads requests that never overlap at random', () => {
    for (const placed of shares('kv', 0)) expect(placed).to.be.within(720, 880);
  });

  it('stays even at a temperature', () => {
    for (const placed of shares('kv', 40, { temperature: 0.5 })) expect(placed).to.be.within(720, 880);
  });
});

/** Turns of conversations that grow; each worker keeps what it has computed. Tells the share of turns that found their prefix, and requests by worker. */
function conversations(policyName: PolicyName, cost: Partial<CostSettings> = {}): { hits: number; placed: number[] } {
  const random = seeded(5);
  const policy = createPolicy(policyName, { cost });
  const active = new ActiveSequences();
  const table = new CandidateTable();
  const placed = Array.from({ length: workers }, () => 0);
  const kept = Array.from({ length: workers }, () => new Map<number, number>());
  const none = new Uint32Array(workers);
  const lengths = Array.from({ length: 60 }, () => 8);
  let hits = 0;
  for (let i = 0; i < 3000; i++) {
    const talk = Math.floor(random() * lengths.length);
    const blocks = (lengths[talk] ?? 0) + 4;
    lengths[talk] = blocks > 100 ? 8 : blocks;
    if (blocks > 100) for (const worker of kept) worker.delete(talk);
    const sequenceHashes = chained(Array.from({ length: blocks }, () => talk));
    const request = { blockSize, promptTokens: blocks * blockSize, sequenceHashes };
    const device = Uint32Array.from(kept, (worker) => Math.min(blocks, worker.get(talk) ?? 0));
    table.clear();
    for (let slot = 0; slot < workers; slot++) table.add(BigInt(slot + 1), 0, slot);
    fillLoads(table, active, request, new Uint32Array(workers), 0);
    fillOverlaps(table, { device, host: none, disk: none, external: none });
    const prompt = { promptTokens: request.promptTokens, blockSize, blocks };
    policy.weigh(table, prompt);
    const slot = policy.pick(table, prompt, random);
    placed[slot] = (placed[slot] ?? 0) + 1;
    const cached = device[slot] ?? 0;
    if (cached === Math.max(...device)) hits++;
    active.add('gateway', String(i), { ...request, slot, cachedTokens: cached * blockSize }, 0);
    active.prefillDone('gateway', String(i - 2), 0);
    active.finish('gateway', String(i - 3), 0);
    kept[slot]?.set(talk, blocks);
  }
  return { hits: hits / 3000, placed };
}

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
    const { hits } = conversations('kv', { prefillLoadScale: 1000 });
    expect(hits).to.be.greaterThan(0.95);
  });
});
