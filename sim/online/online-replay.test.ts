import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import type { LoadOptions } from '../replay/load-driver.ts';
import { buildReport } from '../report/build-report.ts';
import { reportFigures } from '../report/plots/report-figures.ts';
import { ReplayRecorder } from '../report/recorder.ts';
import type { ReplayReport } from '../report/report.ts';
import { plainRequest, shapeOfBlocks, type TraceRequest } from '../traces/trace-request.ts';
import {
  type AnswerCompletion,
  event,
  type FakeGateway,
  startFakeGateway,
  streamAnswer,
} from './fake-gateway.test-support.ts';
import { type OnlineOptions, type OnlineResult, runOnlineReplay } from './online-replay.ts';

const openLoop: LoadOptions = { concurrency: undefined, speedup: 1, intervalMs: undefined, maxRequests: Infinity };

/** Requests of 40 prompt and 3 output tokens; the first 32 are the same for all. */
function* requestsOf(count: number, overrides: Partial<TraceRequest> = {}): Generator<TraceRequest> {
  for (let line = 1; line <= count; line++) {
    const prompt = shapeOfBlocks([1, 2, 100 + line], 16, 40, -line);
    yield { ...plainRequest, line, arrivalMs: 0, prompt, promptTokens: 40, outputTokens: 3, ...overrides };
  }
}

async function* asynchronous<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values;
}

async function replay(
  gateway: Pick<FakeGateway, 'url'>,
  requests: Iterable<TraceRequest>,
  overrides: Partial<OnlineOptions> & { readonly model?: string } = {},
): Promise<{ result: OnlineResult; report: ReplayReport }> {
  const recorder = new ReplayRecorder();
  const { model, ...rest } = overrides;
  const result = await runOnlineReplay({
    trace: 'test',
    requests: asynchronous(requests),
    expectedRequests: Number.NaN,
    load: openLoop,
    gateway: { url: gateway.url, apiKey: 'key-1', model, maxConnections: 4, timeoutMs: 10_000 },
    vocabulary: { lowest: 100, count: 150 },
    seed: 1,
    observer: recorder,
    ...rest,
  });
  return { result, report: buildReport(recorder, { partial: result.partial }) };
}

async function failureOf(work: Promise<unknown>): Promise<StatorError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).to.be.instanceOf(StatorError);
  return thrown as StatorError;
}

describe('replay against a live deployment', () => {
  it('sends the trace as token ids and reports what came back', async () => {
    let sent = 0;
    const answer: AnswerCompletion = (asked, res) => streamAnswer(asked, res, `90071992547409931${sent++ % 2}`, 32);
    await using gateway = await startFakeGateway(answer);
    const { result, report } = await replay(gateway, requestsOf(20, { sessionId: 's1', priority: 2 }));
    expect(result).to.deep.equal({ partial: false, model: 'model-a' });
    expect(report.requests).to.include({ sent: 20, completed: 20 });
    expect(report.cache).to.include({ promptTokens: 800, cachedTokens: 640, tokenHitRate: 0.8, blockHitRate: null });
    expect(report.outputTokens).to.include({ min: 3, max: 3 });
    expect(report.timeToFirstTokenMs.count).to.equal(20);
    expect(report.workers.map(({ name, requests }) => [name, requests])).to.deep.equal([
      ['worker 900719925474099310', 10],
      ['worker 900719925474099311', 10],
    ]);
    expect(gateway.asked[0]).to.include({
      model: 'model-a',
      max_tokens: 3,
      min_tokens: 3,
      ignore_eos: true,
      stream: true,
    });
    expect(gateway.headers[0]).to.include({
      authorization: 'Bearer key-1',
      'x-dynamo-session-id': 's1',
      'x-dynamo-request-priority': '2',
    });
    const [first, second] = gateway.asked.map(({ prompt }) => prompt);
    expect(first).to.have.length(40);
    expect(first?.every((id) => id >= 100 && id < 250)).to.equal(true);
    expect(first?.slice(0, 32)).to.deep.equal(second?.slice(0, 32));
    expect(first?.slice(32)).to.not.deep.equal(second?.slice(32));
  });

  it('keeps connections, and no more requests in flight than they are', async () => {
    await using gateway = await startFakeGateway(
      (asked, res) => void setTimeout(() => streamAnswer(asked, res, '1'), 5),
    );
    const { report } = await replay(gateway, requestsOf(40));
    expect(report.requests.completed).to.equal(40);
    expect(gateway.mostOpen()).to.be.at.most(4);
    // One more may ask for the models.
    expect(gateway.connections()).to.be.at.most(5);
  });

  it('keeps the concurrency of a closed loop', async () => {
    await using gateway = await startFakeGateway(
      (asked, res) => void setTimeout(() => streamAnswer(asked, res, '1'), 5),
    );
    const { report } = await replay(gateway, requestsOf(12), { load: { ...openLoop, concurrency: 2 } });
    expect(report.requests.completed).to.equal(12);
    expect(gateway.mostOpen()).to.equal(2);
  });

  it('follows a session: the next turn after the one before it', async () => {
    await using gateway = await startFakeGateway(
      (asked, res) => void setTimeout(() => streamAnswer(asked, res, '1'), 5),
    );
    const turns = { sessionId: 's', follows: 'session', delayMs: 1 } as const;
    const { report } = await replay(gateway, requestsOf(4, turns));
    expect(report.requests.completed).to.equal(4);
    expect(gateway.mostOpen()).to.equal(1);
  });

  it('sends what was answered where a later prompt contains an output', async () => {
    await using gateway = await startFakeGateway((asked, res) => {
      for (const id of [7001, 7002, 7003]) {
        const choices = [{ text: 'a', finish_reason: null }];
        res.write(event({ choices, nvext: { completion_token_ids: [id] } }));
      }
      streamAnswer(asked, res, '1');
    });
    const [first] = requestsOf(1, { sessionId: 's', follows: 'session', outputId: 55 });
    const prompt = { ids: Float64Array.of(1, 55, 3), lengths: Uint32Array.of(16, 3, 5) };
    const second = { ...plainRequest, line: 2, sessionId: 's', follows: 'session', delayMs: 0, prompt } as const;
    await replay(gateway, [first as TraceRequest, { ...second, promptTokens: 24, outputTokens: 1 }]);
    expect(gateway.asked[1]?.prompt.slice(16, 19)).to.deep.equal([7001, 7002, 7003]);
    expect(gateway.asked[1]?.prompt.slice(0, 16)).to.deep.equal(gateway.asked[0]?.prompt.slice(0, 16));
    const fields = gateway.asked.map(({ nvext }) => nvext.extra_fields);
    expect(fields).to.deep.equal([['worker_id', 'completion_token_ids'], ['worker_id']]);
  });

  it('counts errors by their code', async () => {
    const answers: AnswerCompletion[] = [
      (asked, res) => streamAnswer(asked, res, '1'),
      (_, res) => void res.writeHead(529).end('{"error":{"code":"overloaded","message":"full"}}'),
      (_, res) => void res.writeHead(502).end('<html>bad gateway</html>'),
      (_, res) => void res.end(event({ error: { code: 'engine_failed', message: 'lost' } })),
      (_, res) => void res.end(event({ choices: [{ text: 'a', finish_reason: null }] })),
      (_, res) => void res.end('data: {broken\n\n'),
      (_, res) => void res.destroy(),
    ];
    let sent = 0;
    await using gateway = await startFakeGateway((asked, res, req) => answers[sent++]?.(asked, res, req));
    const { report } = await replay(gateway, requestsOf(answers.length), { load: { ...openLoop, concurrency: 1 } });
    expect(report.requests).to.include({ sent: 7, completed: 1, rejected: 1, failed: 5 });
    const codes = report.errors.map(({ code }) => code).sort();
    expect(codes).to.deep.equal(
      ['connection_lost', 'backend_protocol', 'engine_failed', 'http_502', 'overloaded', 'stream_incomplete'].sort(),
    );
    expect(report.timeToFirstTokenMs.count).to.equal(1);
  });

  it('reports what is over when it is interrupted', async () => {
    const interrupt = new AbortController();
    let sent = 0;
    await using gateway = await startFakeGateway((asked, res) => {
      // The fourth is never answered.
      if (sent++ < 3) streamAnswer(asked, res, '1');
    });
    const onProgress = ({ finished }: { finished: number }): void => {
      if (finished === 3) interrupt.abort();
    };
    const load = { ...openLoop, concurrency: 1 };
    const { result, report } = await replay(gateway, requestsOf(10), { load, signal: interrupt.signal, onProgress });
    expect(result.partial).to.equal(true);
    expect(report.run.partial).to.equal(true);
    expect(report.requests).to.include({ sent: 3, completed: 3, failed: 0 });
  });

  it('is not partial where the interrupt came after the last request', async () => {
    const interrupt = new AbortController();
    await using gateway = await startFakeGateway((asked, res) => streamAnswer(asked, res, '1'));
    const onProgress = ({ finished }: { finished: number }): void => {
      if (finished === 2) interrupt.abort();
    };
    const { result } = await replay(gateway, requestsOf(2), { signal: interrupt.signal, onProgress });
    expect(result.partial).to.equal(false);
  });

  it('takes an address with and without /v1', async () => {
    await using gateway = await startFakeGateway((asked, res) => streamAnswer(asked, res, '1'));
    for (const end of ['', '/', '/v1', '/v1/', '/prefix/v1']) {
      const { report } = await replay({ url: `${gateway.url}${end}` }, requestsOf(1));
      expect(report.requests.completed, end).to.equal(1);
    }
    expect(gateway.paths.filter((path) => path.endsWith('/completions'))).to.deep.equal([
      ...new Array<string>(4).fill('/v1/completions'),
      '/prefix/v1/completions',
    ]);
  });

  it('leaves out plots and figures of what a client cannot see', async () => {
    await using gateway = await startFakeGateway((asked, res) => streamAnswer(asked, res, '1'));
    const { report } = await replay(gateway, requestsOf(5));
    expect(report.routerWaitMs.count).to.equal(0);
    expect(report.workers[0]).to.include({ waiting: null, usedBlocks: null, totalBlocks: null });
    const queue = reportFigures(report).find(({ name }) => name === 'queue');
    expect(queue?.title).to.equal('Requests in flight over time');
  });

  it('says what is wrong with the address and the model', async () => {
    await using gateway = await startFakeGateway((asked, res) => streamAnswer(asked, res, '1'));
    const unknown = await failureOf(replay(gateway, requestsOf(1), { model: 'model-c' }));
    expect(unknown.message).to.include('does not serve model-c; it serves model-a, model-b');
    expect((await failureOf(replay({ url: 'localhost' }, requestsOf(1)))).code).to.equal('invalid_argument');
    const { url } = gateway;
    await gateway[Symbol.asyncDispose]();
    expect((await failureOf(replay({ url }, requestsOf(1)))).message).to.equal(`No gateway answers at ${url}.`);
  });

  it('ends with the error of a trace without times', async () => {
    await using gateway = await startFakeGateway((asked, res) => streamAnswer(asked, res, '1'));
    const error = await failureOf(replay(gateway, requestsOf(2, { arrivalMs: undefined })));
    expect(error.message).to.include('has no time');
  });
});
