import { expect } from 'chai';
import { ActiveSequences } from './active-sequences.ts';
import { PrefillModel } from './prefill-model.ts';
import { seeded } from './twin.test-support.ts';

describe('PrefillModel', () => {
  it('says nothing before it has seen enough', () => {
    const model = new PrefillModel();
    for (let i = 0; i < 7; i++) model.observe(1, 100, 10);
    expect(model.expectedMs(1, 100)).to.equal(undefined);
    model.observe(1, 100, 10);
    expect(model.expectedMs(1, 100)).to.be.closeTo(10, 1e-9);
  });

  it('finds the fixed and the proportional part', () => {
    const model = new PrefillModel();
    const random = seeded(1);
    for (let i = 0; i < 300; i++) {
      const tokens = 1 + Math.floor(random() * 8000);
      model.observe(1, tokens, (20 + tokens / 10) * (0.95 + random() / 10));
    }
    expect(model.expectedMs(1, 0)).to.be.within(5, 35);
    expect(model.expectedMs(1, 4000)).to.be.closeTo(420, 10);
  });

  it('follows a worker that became slower', () => {
    const model = new PrefillModel();
    const random = seeded(2);
    for (let i = 0; i < 600; i++) {
      const tokens = 1 + Math.floor(random() * 1000);
      model.observe(1, tokens, i < 300 ? tokens : 3 * tokens);
    }
    expect(model.expectedMs(1, 1000)).to.be.closeTo(3000, 30);
  });

  it('never expects less than nothing', () => {
    const model = new PrefillModel();
    for (const [tokens, ms] of [
      [100, 90],
      [1000, 10],
      [2000, 5],
    ] as const)
      for (let i = 0; i < 5; i++) model.observe(1, tokens, ms);
    for (const tokens of [0, 10, 1e6]) expect(model.expectedMs(1, tokens)).to.be.at.least(0);
  });

  it('judges a slot of which little is known by all others, and forgets one', () => {
    const model = new PrefillModel();
    for (let i = 0; i < 20; i++) model.observe(1, 100 + i, 50 + i / 2);
    expect(model.expectedMs(2, 100)).to.be.closeTo(50, 1e-6);
    for (let i = 0; i < 20; i++) model.observe(2, 100 + i, 100 + i);
    expect(model.expectedMs(2, 100)).to.be.closeTo(100, 1e-6);
    model.forget(2);
    expect(model.expectedMs(2, 100)).to.be.within(50, 100);
  });
});

describe('ActiveSequences with a prefill model', () => {
  it('learns from finished prompts, with what waited before them, and lets later backlogs shrink', () => {
    const prefillModel = new PrefillModel();
    const active = new ActiveSequences({ prefillModel });
    const request = (tokens: number) => ({
      slot: 0,
      blockSize: 16,
      promptTokens: tokens,
      cachedTokens: 0,
      sequenceHashes: new Uint8Array(),
    });
    // A worker that computes two tokens a millisecond, one prompt after the other.
    for (let i = 0; i < 10; i++) {
      const start = i * 10_000;
      active.add('a', `${i}/1`, request(1000 + 10 * i), start);
      active.add('a', `${i}/2`, request(3000), start);
      active.prefillDone('a', `${i}/1`, start + (1000 + 10 * i) / 2);
      active.output('a', `${i}/2`, 1, start + (4000 + 10 * i) / 2);
      active.finish('a', `${i}/1`, start + 5000);
      active.finish('a', `${i}/2`, start + 5000);
    }
    expect(prefillModel.expectedMs(0, 2000)).to.be.closeTo(1000, 1);
    active.add('a', 'x', request(2000), 200_000);
    expect(active.activePrefillTokens(0, 200_000)).to.equal(2000);
    expect(active.activePrefillTokens(0, 200_500)).to.be.closeTo(1000, 3);
    // A cancelled prompt teaches nothing.
    active.finish('a', 'x', 900_000);
    expect(prefillModel.expectedMs(0, 2000)).to.be.closeTo(1000, 1);
    active.endSlot(0, 0);
    expect(active.activePrefillTokens(0, 0)).to.equal(0);
  });
});
