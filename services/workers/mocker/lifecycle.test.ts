import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Recorder } from '#lib/rpc/testing/recorder.ts';
import { until } from '#lib/rpc/testing/wait.ts';
import { MockerEngine } from './engine.ts';
import { collect, rejection, startTestWorker, type TestWorker } from './testing.ts';

/** An engine that computes nothing while it is stuck. */
class StickyEngine extends MockerEngine {
  stuck = false;

  override submit(...args: Parameters<MockerEngine['submit']>): void {
    if (this.stuck) throw new StatorError('engine_failed', 'stuck');
    super.submit(...args);
  }
}

async function health(test: TestWorker): Promise<number> {
  return (await fetch(`http://${test.worker.address}/health`)).status;
}

describe('worker: life', () => {
  it('warms up, then registers with its cards, then serves', async () => {
    const engine = new MockerEngine();
    await using test = await startTestWorker({ engines: [engine], config: { deviceWeight: 8 } });
    const watch = test.discovery.watch(ServiceKind.WORKER);
    await watch.synced;
    const [instance] = [...watch.instances().values()];
    expect(instance).to.include({ instanceId: 77n, address: test.worker.address, state: InstanceState.READY });
    expect(instance?.cards.map(({ name }) => name)).to.deep.equal(['synthetic']);
    expect(instance?.cards[0]?.deviceWeight).to.equal(8);
    expect(await health(test)).to.equal(200);
    const info = await test.client.getEngineInfo({});
    expect(info.instance?.instanceId).to.equal(77n);
    expect(info.frameVersion).to.equal(1);
    await collect(test.client.generate({ prompt: 'one', stop: { maxTokens: 1, ignoreEos: true } }));
    const metrics = await test.telemetry.metrics.metrics();
    expect(metrics).to.match(/stator_worker_requests_total\{model="synthetic",outcome="length"\} 1/);
    expect(metrics).to.match(/stator_worker_running_sequences\{model="synthetic"\} 0/);
  });

  it('does not register an engine that cannot generate', async () => {
    const engine = new StickyEngine();
    engine.stuck = true;
    const error = await rejection(startTestWorker({ engines: [engine] }));
    expect(error).to.include({ code: 'engine_failed', message: 'stuck' });
  });

  it('becomes unhealthy when its canary fails, and ready when it succeeds again', async () => {
    const engine = new StickyEngine();
    await using test = await startTestWorker({ engines: [engine], config: { canaryIdleSeconds: 0.04 } });
    const watch = test.discovery.watch(ServiceKind.WORKER);
    const published = (): InstanceState | undefined => watch.instances().get(77n)?.state;
    engine.stuck = true;
    await until(() => published() === InstanceState.UNHEALTHY, 'the failure is published');
    expect(await health(test)).to.equal(503);
    engine.stuck = false;
    await until(() => published() === InstanceState.READY, 'the recovery is published');
    expect(await health(test)).to.equal(200);
  });

  it('drains: announces it, refuses new work, finishes what runs, withdraws', async () => {
    await using test = await startTestWorker({ engine: { stepMs: 2 } });
    const watch = test.discovery.watch(ServiceKind.WORKER);
    await watch.synced;
    const running = collect(test.client.generate({ prompt: 'work', stop: { maxTokens: 100, ignoreEos: true } }));
    await until(() => test.worker.context.drainer.remaining === 1, 'the sequence runs');
    const reports: number[] = [];
    const drained = (async () => {
      for await (const { remaining } of test.client.drain({})) reports.push(remaining);
    })();
    await until(() => watch.instances().get(77n)?.state === InstanceState.DRAINING, 'draining is published');
    await until(() => reports.length > 0, 'the drain reports');
    const refused = await rejection(collect(test.client.generate({ prompt: 'more', stop: { maxTokens: 1 } })));
    expect(refused).to.have.property('code', 'draining');
    expect((await running).tokens).to.have.length(100);
    await drained;
    expect(reports.at(-1)).to.equal(0);
    await test.worker.stop();
    await until(() => watch.instances().size === 0, 'the registration is withdrawn');
    await test.worker.stop();
  });

  it('aborts what outlives the grace, and says that another worker may do it', async () => {
    await using test = await startTestWorker({ engine: { stepMs: 5 }, config: { shutdownGraceSeconds: 0 } });
    const running = rejection(
      collect(test.client.generate({ prompt: 'work', stop: { maxTokens: 8000, ignoreEos: true } })),
    );
    await until(() => test.worker.context.drainer.remaining === 1, 'the sequence runs');
    await test.worker.stop();
    expect(await running).to.include({ code: 'draining', retryable: true });
  });

  it('aborts sequences of sessions in the same way', async () => {
    await using test = await startTestWorker({ engine: { stepMs: 5 }, config: { shutdownGraceSeconds: 0 } });
    const session = test.openSession();
    await session.ready(AbortSignal.timeout(5000));
    const recorder = new Recorder();
    session.submit(
      create(GenerateRequestSchema, { tokenIds: [50], stop: { maxTokens: 8000, ignoreEos: true } }),
      recorder,
    );
    await until(() => test.worker.context.drainer.remaining === 1, 'the sequence runs');
    await test.worker.stop();
    await recorder.ended;
    expect(recorder.finished[0]?.error).to.include({ code: 'draining', retryable: true });
  });

  it('ends with its engine: sequences fail retryably, the registration goes, the service rejects', async () => {
    const faults = { failSequenceAfterTokens: 0, failEngineAfterTokens: 30, killAfterTokens: 0 };
    await using test = await startTestWorker({ engine: { faults } });
    const watch = test.discovery.watch(ServiceKind.WORKER);
    await watch.synced;
    const error = await rejection(
      collect(test.client.generate({ prompt: 'work', stop: { maxTokens: 400, ignoreEos: true } })),
    );
    expect(error).to.include({ code: 'engine_failed', retryable: true });
    expect(await rejection(test.worker.ended)).to.have.property('code', 'engine_failed');
    await until(() => watch.instances().size === 0, 'the registration is withdrawn');
    expect(await health(test)).to.equal(503);
    const after = await rejection(collect(test.client.generate({ prompt: 'more', stop: { maxTokens: 1 } })));
    expect(after).to.have.property('code', 'engine_failed');
  });

  it('sleeps and wakes', async () => {
    await using test = await startTestWorker();
    expect(await rejection(test.client.sleep({ level: 3 }))).to.include({ code: 'invalid_argument', field: 'level' });
    await test.client.sleep({ level: 1 });
    expect((await test.client.getEngineInfo({})).instance?.state).to.equal(InstanceState.ASLEEP);
    const asleep = await rejection(collect(test.client.generate({ prompt: 'hello', stop: { maxTokens: 1 } })));
    expect(asleep).to.have.property('code', 'not_ready');
    await test.client.wake({});
    const answer = await collect(test.client.generate({ prompt: 'hello', stop: { maxTokens: 1, ignoreEos: true } }));
    expect(answer.tokens).to.have.length(1);
  });
});
