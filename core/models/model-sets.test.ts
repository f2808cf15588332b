import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { type Instance, InstanceSchema, InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { type ModelCard, ModelCardSchema, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { isComplete, ModelSets } from './model-sets.ts';

type CardInit = Partial<Pick<ModelCard, 'aliases' | 'role' | 'needs' | 'adapters'>> & { digest?: number };

function worker(
  instanceId: bigint,
  name: string,
  { digest = 1, ...rest }: CardInit = {},
  state: InstanceState = InstanceState.READY,
): Instance {
  const card = create(ModelCardSchema, { name, digest: Uint8Array.of(digest), ...rest });
  return create(InstanceSchema, { instanceId, state, cards: [card] });
}

describe('ModelSets', () => {
  it('lets the second digest in only when the first is gone', () => {
    const rejected: bigint[] = [];
    const sets = new ModelSets(({ instanceId }) => rejected.push(instanceId));
    for (const [id, digest] of [
      [1n, 1],
      [2n, 2],
      [3n, 2],
      [4n, 1],
    ] as const)
      sets.upsert(worker(id, 'm', { digest }));
    expect([...(sets.get('m')?.workers.keys() ?? [])]).to.deep.equal([1n, 4n]);
    expect(rejected).to.deep.equal([2n, 3n]);
    sets.remove(1n);
    sets.remove(4n);
    expect([...(sets.get('m')?.workers.keys() ?? [])]).to.deep.equal([2n, 3n]);
    sets.remove(2n);
    sets.remove(3n);
    expect(sets.all()).to.deep.equal([]);
  });

  it('moves a worker whose card changes', () => {
    const sets = new ModelSets(() => {});
    sets.upsert(worker(1n, 'a'));
    sets.upsert(worker(1n, 'b'));
    expect(sets.all().map(({ name }) => name)).to.deep.equal(['b']);
  });

  it('finds aliases', () => {
    const sets = new ModelSets(() => {});
    sets.upsert(worker(1n, 'a', { aliases: ['other'] }));
    expect(sets.find('other')?.set.name).to.equal('a');
    expect(sets.find('nothing')).to.equal(undefined);
  });

  it('is complete with an aggregated worker, or with every role of one alternative', () => {
    const needs = [{ $typeName: 'stator.model.v1.Need' as const, roles: [WorkerRole.PREFILL, WorkerRole.DECODE] }];
    const sets = new ModelSets(() => {});
    const complete = (): boolean => {
      const set = sets.get('m');
      return set !== undefined && isComplete(set);
    };
    sets.upsert(worker(1n, 'm', { role: WorkerRole.DECODE, needs }));
    expect(complete()).to.equal(false);
    sets.upsert(worker(2n, 'm', { role: WorkerRole.PREFILL, needs }, InstanceState.DRAINING));
    expect(complete()).to.equal(false);
    sets.upsert(worker(2n, 'm', { role: WorkerRole.PREFILL, needs }));
    expect(complete()).to.equal(true);
    sets.remove(2n);
    sets.upsert(worker(3n, 'm'));
    expect(complete()).to.equal(true);
  });
});
