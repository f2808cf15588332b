import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { RecomputeCost } from './recompute-cost.ts';

function add(cost: RecomputeCost, promptTokens: number, cachedTokens: number, prefillUs: number): void {
  const request = create(GenerateRequestSchema, { tokenIds: new Array<number>(promptTokens).fill(1) });
  const info = { handle: 1, cachedTokens, queueUs: 0, prefillUs, promptLogprobs: null };
  cost.add({ request, output: [], offered: 0 }, info);
}

describe('RecomputeCost', () => {
  it('learns from what was computed, not from what was found or from few tokens', () => {
    const cost = new RecomputeCost(() => 16);
    expect(cost.blockUs).to.equal(undefined);
    add(cost, 20, 0, 1_000_000);
    add(cost, 1000, 990, 1_000_000);
    expect(cost.blockUs).to.equal(undefined);
    add(cost, 100, 0, 1000);
    expect(cost.blockUs).to.equal(160);
    add(cost, 200, 100, 2000);
    expect(cost.blockUs).to.equal(192);
  });
});
