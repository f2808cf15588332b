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
