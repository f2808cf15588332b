import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { InstanceSchema, InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { ModelCardSchema, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import type { ModelWorker } from './model-sets.ts';
import { servesApart, servingOf } from './serving.ts';

const { AGGREGATED, PREFILL, DECODE, UNSPECIFIED } = WorkerRole;

function setOf(...workers: readonly (readonly [WorkerRole, InstanceState?])[]): {
  workers: ReadonlyMap<bigint, ModelWorker>;
} {
  const entries = workers.map(([role, state = InstanceState.READY], index) => {
    const instance = create(InstanceSchema, { instanceId: BigInt(index), state });
    return [BigInt(index), { instance, card: create(ModelCardSchema, { role }) }] as const;
  });
  return { workers: new Map(entries) };
}

describe('who runs requests', () => {
  it('prefers workers apart, then aggregated ones, then decode workers alone', () => {
    expect(servingOf(setOf([AGGREGATED], [PREFILL], [DECODE]))).to.deep.equal(['apart', 'whole', 'decode']);
    expect(servingOf(setOf([PREFILL], [UNSPECIFIED]))).to.deep.equal(['whole']);
    expect(servingOf(setOf([DECODE]))).to.deep.equal(['decode']);
    expect(servingOf(setOf([PREFILL]))).to.deep.equal([]);
    expect(servesApart(setOf([PREFILL], [DECODE]))).to.equal(true);
  });

  it('counts only workers that take work', () => {
    expect(servingOf(setOf([PREFILL, InstanceState.DRAINING], [DECODE], [AGGREGATED]))).to.deep.equal([
      'whole',
      'decode',
    ]);
    expect(servesApart(setOf([PREFILL, InstanceState.DRAINING], [DECODE]))).to.equal(false);
  });
});
