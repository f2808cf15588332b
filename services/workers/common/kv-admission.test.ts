import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { FinishReason, type GenerateRequest, GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { RankLoadSchema } from '#gen/stator/events/v1/events_pb.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Engine, EngineListener, Finished, StepBatch } from './engine.ts';
import type { EngineKv, KvHold } from './engine-kv.ts';
import { AdmittingEngine, type KvAdmissionOptions, type KvSource } from './kv-admission.ts';

const blockTokens = 4;

/** An engine that notes what it is asked, and does what the test says. */
class NotedEngine implements Engine {
  readonly card = create(ModelCardSchema, { name: 'noted' });
  readonly submitted: number[] = [];
  readonly cancelled: number[] = [];
  refuses: StatorError | undefined;
  cached = 0;
  listener: EngineListener | undefined;
  readonly kv = {
    format: { blockTokens },
    cachedBlocks: () => this.cached,
  } as unknown as EngineKv;

  async start(listener: EngineListener): Promise<void> {
    this.listener = listener;
  }
  submit(handle: number): void {
    if (this.refuses !== undefined) throw this.refuses;
    this.submitted.push(handle);
  }
  cancel(handle: number): void {
    this.cancelled.push(handle);
  }
  load() {
    return [create(RankLoadSchema, { dataParallelRank: 0, queuedSequences: 2, pendingPrefillTokens: 5n })];
  }
  async clearCache(): Promise<number> {
    return 0;
  }
  kvSnapshot() {
    return [];
  }
  async stop(): Promise<void> {}
  step(o: Partial<StepBatch>): void {
    const none = new Uint32Array();
    const nothing = { handles: none, tokenIds: none, prefilled: [], finished: [], logprobs: [], kvEvents: [] };
    this.listener?.onStep({ ...nothing, forwardPass: null, ...o });
  }
}

/** A source whose answers the test gives. */
class GivenSource implements KvSource {
  readonly name = 'given';
  readonly asked: PromiseWithResolvers<KvHold | null>[] = [];
  readonly signals: AbortSignal[] = [];
  concerns(): boolean {
    return true;
  }
  fetch(_request: GenerateRequest, _prefix: unknown, signal: AbortSignal): Promise<KvHold | null> {
    const answer = Promise.withResolvers<KvHold | null>();
    this.asked.push(answer);
    this.signals.push(signal);
    return answer.promise;
  }
}

class NotedHold implements KvHold {
  readonly blocks = 2;
  released = 0;
  release(): void {
    this.released++;
  }
}

interface Bench {
  readonly inner: NotedEngine;
  readonly source: GivenSource;
  readonly engine: AdmittingEngine;
  readonly finished: Finished[];
}

async function bench(options: Partial<KvAdmissionOptions> = {}): Promise<Bench> {
  const { log, metrics } = quietTelemetry();
  const inner = new NotedEngine();
  const source = new GivenSource();
  const engine = new AdmittingEngine(inner, {
    sources: [source],
    maxFetching: 8,
    fetchTimeoutMs: 60_000,
    holdTimeoutMs: 60_000,
    log,
    metrics,
    ...options,
  });
  const finished: Finished[] = [];
  const listener = { onStep: (step: StepBatch) => void finished.push(...step.finished), onFatal: () => {} };
  await engine.start(listener, { signal: AbortSignal.timeout(60_000) });
  started.push(engine);
  return { inner, source, engine, finished };
}

const started: AdmittingEngine[] = [];

function request(o: Parameters<typeof create<typeof GenerateRequestSchema>>[1] = {}): GenerateRequest {
  return create(GenerateRequestSchema, { tokenIds: Array.from({ length: 10 }, (_, i) => i), ...o });
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('AdmittingEngine', () => {
  // What a source was asked for and never gives is waited for until then.
  afterEach(() => Promise.all(started.splice(0).map((engine) => engine.stop())));

  it('submits at once what no source concerns, what has no full block, and what must not be reused', async () => {
    const { inner, source, engine } = await bench();
    engine.submit(1, request({ tokenIds: [1, 2, 3] }));
    engine.submit(2, request({ cache: { bypassPrefixCache: true } }));
    engine.submit(3, request({ output: { promptLogprobs: 1 } }));
    engine.submit(4, request({ media: [{}] }));
    inner.cached = 2;
    engine.submit(5, request());
    expect(inner.submitted).to.deep.equal([1, 2, 3, 4, 5]);
    expect(source.asked).to.have.length(0);
  });

  it('submits once the source has answered, and holds until the sequence has begun', async () => {
    const { inner, source, engine } = await bench();
    const hold = new NotedHold();
    engine.submit(1, request());
    expect(inner.submitted).to.deep.equal([]);
    const [load] = engine.load();
    expect([load?.queuedSequences, load?.pendingPrefillTokens]).to.deep.equal([3, 15n]);
    source.asked[0]?.resolve(hold);
    await turn();
    expect(inner.submitted).to.deep.equal([1]);
    expect(engine.load()[0]?.queuedSequences).to.equal(2);
    expect(hold.released).to.equal(0);
    inner.step({ prefilled: [{ handle: 1, cachedTokens: 8, queueUs: 0, prefillUs: 0, promptLogprobs: null }] });
    expect(hold.released).to.equal(1);
  });

  it('asks the next source for what the first one lacks, and not when nothing lacks', async () => {
    const next = new GivenSource();
    const { inner, source, engine } = await bench();
    const both = new AdmittingEngine(inner, {
      sources: [source, next],
      maxFetching: 8,
      fetchTimeoutMs: 60_000,
      holdTimeoutMs: 60_000,
      ...quietTelemetry(),
    });
    await both.start({ onStep: () => {}, onFatal: () => {} }, { signal: AbortSignal.timeout(60_000) });
    both.submit(1, request());
    source.asked[0]?.resolve(null);
    await turn();
    expect(next.asked).to.have.length(1);
    next.asked[0]?.resolve(new NotedHold());
    await turn();
    both.submit(2, request());
    inner.cached = 2;
    source.asked[1]?.resolve(new NotedHold());
    await turn();
    expect(next.asked).to.have.length(1);
    expect(inner.submitted).to.deep.equal([1, 2]);
    await both.stop();
    await engine.stop();
  });

  it('computes what a source fails to give, throws over or is late with', async () => {
    const { inner, source, engine } = await bench({ fetchTimeoutMs: 1 });
    engine.submit(1, request());
    source.asked[0]?.reject(new Error('no'));
    await turn();
    expect(inner.submitted).to.deep.equal([1]);
    const hold = new NotedHold();
    engine.submit(2, request());
    while (inner.submitted.length < 2) await turn();
    expect(source.signals[1]?.aborted).to.equal(true);
    source.asked[1]?.resolve(hold);
    await turn();
    expect(hold.released).to.equal(1);
    const throwing: KvSource = {
      name: 'throwing',
      concerns: () => true,
      fetch: () => {
        throw new Error('at once');
      },
    };
    const other = await bench({ sources: [throwing] });
    other.engine.submit(3, request());
    await turn();
    expect(other.inner.submitted).to.deep.equal([3]);
  });

  it('ends a sequence once that is cancelled while it waits, whatever the source does then', async () => {
    const { inner, source, engine, finished } = await bench();
    const hold = new NotedHold();
    engine.submit(1, request());
    engine.cancel(1);
    engine.cancel(1);
    expect(finished).to.have.length(0);
    await turn();
    source.asked[0]?.resolve(hold);
    await turn();
    expect(finished.map(({ handle, reason, usage }) => [handle, reason, usage.promptTokens])).to.deep.equal([
      [1, FinishReason.CANCELLED, 10],
    ]);
    expect([inner.submitted, hold.released]).to.deep.equal([[], 1]);
    expect(source.signals[0]?.aborted).to.equal(true);
  });

  it('does not admit a sequence cancelled between the answer and its admission', async () => {
    const { inner, source, engine, finished } = await bench();
    const hold = new NotedHold();
    engine.submit(1, request());
    source.asked[0]?.resolve(hold);
    // The answer is on its way through several promises; the cancellation comes somewhere among them.
    for (let i = 0; i < 3; i++) await Promise.resolve();
    engine.cancel(1);
    await turn();
    await turn();
    const ends = finished.length + inner.cancelled.length;
    expect([ends, inner.submitted.length - inner.cancelled.length]).to.deep.equal([1, 0]);
  });

  it('ends a sequence with what the engine throws once the KV is there', async () => {
    const { inner, source, engine, finished } = await bench();
    const hold = new NotedHold();
    engine.submit(1, request());
    inner.refuses = new StatorError('overloaded', 'full');
    source.asked[0]?.resolve(hold);
    while (finished.length === 0) await turn();
    expect(finished.map(({ reason, error }) => [reason, error?.code, error?.retryable])).to.deep.equal([
      [FinishReason.ERROR, 'overloaded', true],
    ]);
    expect(hold.released).to.equal(1);
  });

  it('bounds what waits: beyond it sequences are computed', async () => {
    const { inner, source, engine } = await bench({ maxFetching: 1 });
    engine.submit(1, request());
    engine.submit(2, request());
    expect(inner.submitted).to.deep.equal([2]);
    expect(source.asked).to.have.length(1);
  });

  it('lets go of blocks when their sequence ends or does not begin', async () => {
    const { inner, source, engine } = await bench({ holdTimeoutMs: 1 });
    const [ended, waiting] = [new NotedHold(), new NotedHold()];
    engine.submit(1, request());
    source.asked[0]?.resolve(ended);
    await turn();
    engine.submit(2, request());
    source.asked[1]?.resolve(waiting);
    while (waiting.released === 0) await turn();
    expect(inner.submitted).to.deep.equal([1, 2]);
    expect(ended.released).to.equal(1);
  });

  it('gives up every fetch and hold when it stops, and reports nothing then', async () => {
    const { inner, source, engine, finished } = await bench();
    const hold = new NotedHold();
    engine.submit(1, request());
    source.asked[0]?.resolve(hold);
    await turn();
    engine.submit(2, request());
    engine.cancel(2);
    engine.submit(3, request());
    await engine.stop();
    await turn();
    expect([hold.released, finished.length, source.signals[2]?.aborted]).to.deep.equal([1, 0, true]);
    expect(inner.submitted).to.deep.equal([1]);
  });
});
