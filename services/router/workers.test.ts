import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { type Instance, InstanceSchema, InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import type { Discovery, InstanceListener } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { routerMetrics } from './metrics.ts';
import { Workers } from './workers.ts';

/** A discovery whose news the test makes up. */
class ScriptedDiscovery implements Discovery {
  readonly connected = true;
  listener: Partial<InstanceListener> = {};

  register(): Promise<never> {
    return Promise.reject(new Error('nothing registers here'));
  }

  watch(_kind: ServiceKind | undefined, listener: Partial<InstanceListener> = {}) {
    this.listener = listener;
    return { synced: Promise.resolve(), instances: () => new Map<bigint, Instance>(), close: () => {} };
  }

  async close(): Promise<void> {}
}

function worker(instanceId: bigint, state: InstanceState = InstanceState.READY): Instance {
  const cards = [create(ModelCardSchema, { name: 'm', digest: Uint8Array.of(1) })];
  return create(InstanceSchema, { instanceId, kind: ServiceKind.WORKER, address: '127.0.0.1:1', state, cards });
}

describe('Workers', () => {
  let discovery: ScriptedDiscovery;
  let workers: Workers;
  let alive: Set<bigint>;
  let gone: bigint[];
  let silence: Map<bigint, () => void>;
  const telemetry = quietTelemetry();

  beforeEach(() => {
    discovery = new ScriptedDiscovery();
    alive = new Set([1n, 2n, 3n]);
    gone = [];
    silence = new Map();
    telemetry.metrics.clear();
    workers = new Workers({
      discovery,
      metrics: routerMetrics(telemetry.metrics),
      log: telemetry.log,
      inhibitMs: 1000,
      maxAddedWorkers: 1,
      minInitialWorkers: 0,
      nowMs: () => 0,
      startPoll: ({ instanceId }, { onGone }) => {
        silence.set(instanceId, onGone);
        return {
          get alive() {
            return alive.has(instanceId);
          },
          close: () => {},
        };
      },
      onGone: (instanceId) => gone.push(instanceId),
      onChange: () => {},
      onLoad: () => {},
    });
    for (const id of alive) discovery.listener.onUp?.(worker(id));
  });

  function routable(): bigint[] {
    const set = workers.model('m');
    return set === undefined ? [] : workers.ranksOf(set).map(({ instanceId }) => instanceId);
  }

  it('keeps workers that still answer when their leases expire all at once', async () => {
    alive.delete(2n);
    for (const id of [1n, 2n, 3n]) discovery.listener.onDown?.(worker(id), 'expired');
    expect(routable()).to.deep.equal([1n, 3n]);
    expect(gone).to.deep.equal([2n]);
    expect(await telemetry.metrics.metrics()).to.match(/stator_router_workers\{discovery="lost"\} 2/);
  });

  it('lets go of a lost worker once it is silent, and of none that discovery still has', () => {
    discovery.listener.onDown?.(worker(1n), 'stale');
    silence.get(1n)?.();
    silence.get(2n)?.();
    expect(routable()).to.deep.equal([2n, 3n]);
    expect(gone).to.deep.equal([1n]);
  });

  it('believes a worker that withdraws, even while it answers', () => {
    discovery.listener.onDown?.(worker(1n), 'withdrawn');
    expect(routable()).to.deep.equal([2n, 3n]);
    expect(gone).to.deep.equal([1n]);
  });

  it('takes a lost worker back when discovery has it again', async () => {
    discovery.listener.onDown?.(worker(1n), 'expired');
    discovery.listener.onUp?.(worker(1n));
    silence.get(1n)?.();
    expect(routable()).to.include(1n);
    expect(gone).to.deep.equal([]);
    expect(await telemetry.metrics.metrics()).to.match(/stator_router_workers\{discovery="lost"\} 0/);
  });

  it('has room for another added worker once discovery tells of one, or one is taken back', () => {
    workers.upsert(worker(7n));
    expect(() => workers.upsert(worker(8n))).to.throw(StatorError, 'Calls made 1 workers known');
    discovery.listener.onUp?.(worker(7n));
    expect(workers.added).to.equal(0);
    workers.upsert(worker(8n));
    expect(workers.forget(8n)).to.equal(true);
    expect(workers.added).to.equal(0);
    expect(workers.has(7n)).to.equal(true);
  });
});
