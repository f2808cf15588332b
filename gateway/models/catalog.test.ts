import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { type Instance, InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { AdapterSchema, NeedSchema, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { testCard, workerInstance } from '../testing/harness.ts';
import { ModelCatalog } from './catalog.ts';
import { closeNames } from './close-names.ts';

function codeOf(run: () => unknown): string | null {
  try {
    run();
    return null;
  } catch (thrown) {
    return StatorError.from(thrown).code;
  }
}

const other = new Uint8Array(32).fill(9);

describe('ModelCatalog', () => {
  it('resolves names, aliases and adapters', () => {
    const catalog = new ModelCatalog();
    catalog.upsert(workerInstance(1n, testCard({ adapters: [create(AdapterSchema, { name: 'lora-a' })] })));
    expect(catalog.resolve('test-model').adapter).to.equal('');
    expect(catalog.resolve('test-alias').entry.name).to.equal('test-model');
    expect(catalog.resolve('lora-a')).to.include({ adapter: 'lora-a' });
    expect(codeOf(() => catalog.resolve('nope'))).to.equal('model_not_found');
  });

  it('never mixes cards of different digests; the other set takes over when the first is gone', () => {
    const rejected: bigint[] = [];
    const catalog = new ModelCatalog((instance: Instance) => rejected.push(instance.instanceId));
    catalog.upsert(workerInstance(1n, testCard()));
    catalog.upsert(workerInstance(2n, testCard({ digest: other })));
    catalog.upsert(workerInstance(3n, testCard({ digest: other })));
    catalog.upsert(workerInstance(2n, testCard({ digest: other })));
    expect(rejected).to.deep.equal([2n, 3n]);
    expect([...catalog.resolve('test-model').entry.workers.keys()]).to.deep.equal([1n]);
    catalog.remove(1n);
    expect([...catalog.resolve('test-model').entry.workers.keys()]).to.deep.equal([2n, 3n]);
    catalog.remove(2n);
    catalog.remove(3n);
    expect(codeOf(() => catalog.resolve('test-model'))).to.equal('model_not_found');
  });

  it('is not ready without a worker that takes work, or without every role that is needed', () => {
    const catalog = new ModelCatalog();
    const draining = workerInstance(1n, testCard());
    draining.state = InstanceState.DRAINING;
    catalog.upsert(draining);
    expect(codeOf(() => catalog.resolve('test-model'))).to.equal('not_ready');
    expect(catalog.ready()).to.deep.equal([]);
    const needs = [create(NeedSchema, { roles: [WorkerRole.PREFILL, WorkerRole.DECODE] })];
    catalog.remove(1n);
    catalog.upsert(workerInstance(2n, testCard({ role: WorkerRole.DECODE, needs })));
    expect(codeOf(() => catalog.resolve('test-model'))).to.equal('not_ready');
    catalog.upsert(workerInstance(3n, testCard({ role: WorkerRole.PREFILL, needs })));
    expect(codeOf(() => catalog.resolve('test-model'))).to.equal(null);
  });

  it('follows a worker that serves another model than before', () => {
    const catalog = new ModelCatalog();
    catalog.upsert(workerInstance(1n, testCard()));
    catalog.upsert(workerInstance(1n, testCard({ name: 'renamed' })));
    expect(catalog.entries().map((entry) => entry.name)).to.deep.equal(['renamed']);
  });
});

describe('closeNames', () => {
  it('finds what was meant, nearest first', () => {
    const names = ['Qwen3-0.6B', 'Qwen3-8B', 'SmolLM2-135M-Instruct', 'gpt-oss-20b'];
    expect(closeNames('qwen3-0.6b', names)[0]).to.equal('Qwen3-0.6B');
    expect(closeNames('smollm2', names)).to.deep.equal(['SmolLM2-135M-Instruct']);
    expect(closeNames('zzzzzz', names)).to.deep.equal([]);
    expect(closeNames('x'.repeat(100_000), names)).to.deep.equal([]);
  });
});
