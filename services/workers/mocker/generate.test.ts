import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { FinishReason, GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { Recorder } from '#lib/rpc/testing/recorder.ts';
import { until } from '#lib/rpc/testing/wait.ts';
import { MockerEngine } from './engine.ts';
import { collect, rejection, startTestWorker } from './testing.ts';

describe('worker: Generate and Session', () => {
  it('answers text and tokens that belong together', async () => {
    await using test = await startTestWorker();
    const stop = { maxTokens: 40, ignoreEos: true };
    const answer = await collect(test.client.generate({ prompt: 'Once upon', stop, output: { text: true } }));
    expect(answer.tokens).to.have.length(40);
    expect(answer.text).to.equal(String.fromCharCode(...answer.tokens.map((token) => token - 3)));
    expect(answer.last?.finishReason).to.equal(FinishReason.LENGTH);
    expect(answer.last?.usage).to.include({ promptTokens: 9, outputTokens: 40 });
    const ended = answer.parts.filter((part) => part.finishReason !== FinishReason.UNSPECIFIED);
    expect(ended).to.have.length(1);
  });

  it('ends at a stop string, which shows only if asked for, and counts to it', async () => {
    await using test = await startTestWorker();
    const stop = { maxTokens: 200, ignoreEos: true };
    const whole = await collect(test.client.generate({ prompt: 'abc', stop, output: { text: true } }));
    const cut = whole.text.slice(20, 24);
    const at = whole.text.indexOf(cut);
    for (const includeStopString of [false, true]) {
      const conditions = { ...stop, stopStrings: ['never seen', cut], includeStopString };
      const answer = await collect(test.client.generate({ prompt: 'abc', stop: conditions, output: { text: true } }));
      expect(answer.text).to.equal(whole.text.slice(0, at + (includeStopString ? cut.length : 0)));
      expect(answer.last?.finishReason).to.equal(FinishReason.STOP);
      expect(answer.last?.stopString).to.equal(cut);
      expect(answer.last?.usage?.outputTokens).to.equal(at + cut.length);
      expect(answer.tokens).to.have.length(at + cut.length);
    }
    await until(() => test.worker.context.drainer.remaining === 0, 'stopped sequences end in the engine');
  });

  it('gives one log-probability for each token', async () => {
    await using test = await startTestWorker();
    const answer = await collect(
      test.client.generate({
        tokenIds: [50, 51],
        stop: { maxTokens: 12, ignoreEos: true },
        output: { topLogprobs: 2, promptLogprobs: 1 },
      }),
    );
    const positions = answer.parts.flatMap((part) => part.logprobs);
    expect(positions.map(({ chosen }) => chosen?.tokenId)).to.deep.equal(answer.tokens);
    expect(answer.parts[0]?.promptLogprobs).to.have.length(1);
    for (const part of answer.parts) expect(part.logprobs).to.have.length(part.tokenIds.length);
  });

  it('refuses text precisely where the engine has none', async () => {
    class TokensOnly extends MockerEngine {
      override readonly text = undefined as unknown as MockerEngine['text'];
    }
    await using test = await startTestWorker({ engines: [new TokensOnly()] });
    const cases = [
      { field: 'prompt', request: { prompt: 'abc' } },
      { field: 'output.text', request: { tokenIds: [50], output: { text: true } } },
      { field: 'stop.stop_strings', request: { tokenIds: [50], stop: { stopStrings: ['x'] } } },
    ];
    for (const { field, request } of cases) {
      const error = await rejection(collect(test.client.generate(request)));
      expect(error, field).to.include({ code: 'unsupported', field });
    }
  });

  it('ends the sequence when the client leaves, and by its request id', async () => {
    await using test = await startTestWorker({ engine: { stepMs: 2 } });
    const { drainer } = test.worker.context;
    const abort = new AbortController();
    const leaving = (async () => {
      for await (const part of test.client.generate(
        { prompt: 'long', stop: { maxTokens: 4000 } },
        { signal: abort.signal },
      ))
        if (part.tokenIds.length > 0) abort.abort();
    })();
    expect(await rejection(leaving)).to.have.property('code', 'cancelled');
    await until(() => drainer.remaining === 0, 'the sequence of a client that left ends');
    const aborted = collect(test.client.generate({ requestId: 'r1', prompt: 'long', stop: { maxTokens: 4000 } }));
    await until(() => drainer.remaining === 1, 'the sequence runs');
    expect((await test.client.abort({ requestId: 'unknown' })).aborted).to.equal(0);
    expect((await test.client.abort({ requestId: 'r1' })).aborted).to.equal(1);
    expect((await aborted).last?.finishReason).to.equal(FinishReason.CANCELLED);
    expect(await rejection(test.client.abort({}))).to.include({ code: 'invalid_argument', field: 'request_id' });
  });

  it('cuts a client that does not read, and does not slow down the others', async () => {
    await using test = await startTestWorker({
      engine: { contextLength: 1_000_000, kvBlocks: 70_000, burst: 64 },
      config: { generateBufferTokens: 256 },
    });
    const abort = new AbortController();
    const request = { prompt: 'slow', stop: { maxTokens: 900_000, ignoreEos: true }, output: { topLogprobs: 20 } };
    const stream = test.client.generate(request, { signal: abort.signal })[Symbol.asyncIterator]();
    await stream.next();
    const other = await collect(test.client.generate({ prompt: 'other', stop: { maxTokens: 500, ignoreEos: true } }));
    expect(other.tokens).to.have.length(500);
    await until(() => test.worker.context.drainer.remaining === 0, 'the sequence of the slow reader is cut');
    const error = await rejection(
      (async () => {
        for (;;) if ((await stream.next()).done === true) return;
      })(),
    );
    expect(error).to.have.property('code', 'slow_reader');
  });

  it('keeps a deadline', async () => {
    await using test = await startTestWorker({ engine: { stepMs: 5 } });
    const deadlineUnixMs = BigInt(Date.now() + 50);
    const error = await rejection(
      collect(test.client.generate({ prompt: 'late', deadlineUnixMs, stop: { maxTokens: 4000 } })),
    );
    expect(error).to.include({ code: 'deadline_exceeded', field: 'deadline_unix_ms' });
    await until(() => test.worker.context.drainer.remaining === 0, 'its sequence ends');
  });

  it('runs many sequences of a session byte-exactly, and frees them when it closes', async () => {
    await using test = await startTestWorker();
    const session = test.openSession();
    await session.ready(AbortSignal.timeout(5000));
    const stop = { maxTokens: 50, ignoreEos: true };
    const runs = Array.from({ length: 100 }, (_, i) => {
      const recorder = new Recorder();
      session.submit(create(GenerateRequestSchema, { tokenIds: [40 + (i % 50), 41], stop }), recorder);
      return recorder;
    });
    await Promise.all(runs.map((run) => run.ended));
    const alone = await collect(test.client.generate({ tokenIds: [47, 41], stop }));
    expect(runs[7]?.tokens).to.deep.equal(alone.tokens);
    for (const run of runs) expect(run.tokens).to.have.length(50);
    const refused = new Recorder();
    session.submit(create(GenerateRequestSchema, { tokenIds: [999], stop }), refused);
    await refused.ended;
    expect(refused.finished[0]?.error).to.include({ code: 'invalid_argument', field: 'token_ids[0]' });
    session.submit(
      create(GenerateRequestSchema, { tokenIds: [50], stop: { maxTokens: 8000, ignoreEos: true } }),
      new Recorder(),
    );
    session.close();
    await until(() => test.worker.context.drainer.remaining === 0, 'sequences of a closed session end');
  });

  it('continues the trace of the request', async () => {
    const { spans, telemetry } = await tracing();
    await using test = await startTestWorker({ telemetry });
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
    await collect(test.client.generate({ requestId: 'traced', prompt: 'abc', traceparent, stop: { maxTokens: 3 } }));
    const span = spans().find(({ attributes }) => attributes['stator.request_id'] === 'traced');
    expect(span?.name).to.equal('engine.generate');
    expect(span?.spanContext().traceId).to.equal(traceId);
    expect(span?.parentSpanContext?.spanId).to.equal('b7ad6b7169203331');
    expect(span?.events.map(({ name }) => name)).to.deep.equal(['queue', 'prefill']);
    expect(span?.attributes).to.include({ 'stator.output_tokens': 3, 'stator.outcome': 'length' });
  });
});

async function tracing() {
  const { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } = await import(
    '@opentelemetry/sdk-trace-node'
  );
  const { quietTelemetry } = await import('#lib/telemetry/quiet.ts');
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const telemetry = { ...quietTelemetry(), tracer: provider.getTracer('test') };
  return { spans: () => exporter.getFinishedSpans(), telemetry };
}
