import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { type CollectedSpan, type OtlpSink, startOtlpSink } from '../support/otlp-sink.ts';
import { callRouter } from '../support/router-calls.ts';
import { until } from '../support/until.ts';

const SERVICES = ['stator-gateway', 'stator-tokenizer', 'stator-router', 'stator-worker'] as const;
const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER_SPAN = '00f067aa0ba902b7';
const worker = { engine: 'mocker', settings: { model: 'synthetic', stepMs: 1 } } as const;

describe('tracing', function () {
  this.timeout(180_000);
  let sink: OtlpSink;
  let cluster: Cluster;
  let spans: CollectedSpan[];

  before(async () => {
    sink = await startOtlpSink();
    cluster = await startCluster({
      workers: [worker, worker],
      separateProcesses: true,
      discovery: 'file',
      common: { otlpEndpoint: sink.url },
    });
    await until('both workers can be chosen', async () => {
      const calls = callRouter(cluster.member('router').address);
      const known = await calls.loads();
      await calls[Symbol.asyncDispose]();
      return known.length === 2;
    });
    await until('the gateway reaches them', async () => {
      const health = (await (await fetch(`${cluster.url}/health`)).json()) as { instances: { session: string }[] };
      return health.instances.filter(({ session }) => session === 'ready').length === 2;
    });
    const body = { model: 'synthetic', messages: [{ role: 'user', content: 'hello' }], max_tokens: 4 };
    const traceparent = `00-${TRACE_ID}-${CALLER_SPAN}-01`;
    const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body), { traceparent });
    expect(answer.status, answer.text).to.equal(200);
    // Spans of one trace come in several exports, the root last.
    spans = await until('every service exports its spans of the trace', collected, 30_000);
  });

  after(async () => {
    await cluster?.stop();
    await sink?.[Symbol.asyncDispose]();
  });

  it("continues the caller's trace through gateway, tokenizer, router and worker", () => {
    for (const service of SERVICES)
      expect(
        spans.some((span) => span.service.startsWith(service)),
        service,
      ).to.equal(true);
  });

  it('forms one tree whose root hangs on the caller', () => {
    const ids = new Set(spans.map(({ spanId }) => spanId));
    const roots = spans.filter(({ parentSpanId }) => !ids.has(parentSpanId));
    expect(roots.map(({ service }) => service)).to.deep.equal(['stator-gateway']);
    expect(roots[0]?.parentSpanId).to.equal(CALLER_SPAN);
  });

  it('tells what each worker would have cost, and that the cheapest was chosen', () => {
    const route = spans.find(({ name }) => name === 'router.route');
    const costs = (route?.events ?? []).filter(({ name }) => name === 'stator.router.cost');
    expect(costs.length).to.equal(2);
    const least = Math.min(...costs.map(({ attributes }) => Number(attributes['stator.router.cost'])));
    const id = 'stator.worker_id';
    const chosen = costs.find(({ attributes }) => attributes[id] === route?.attributes[id])?.attributes;
    expect(chosen).to.include({ 'stator.router.cost': least });
    for (const term of ['prefill_blocks', 'decode_blocks', 'active_requests', 'preference'])
      expect(chosen, term).to.have.property(`stator.router.cost.${term}`);
  });

  function collected(): CollectedSpan[] | undefined {
    const found = sink.spans.filter(({ traceId }) => traceId === TRACE_ID);
    const ids = new Set([CALLER_SPAN, ...found.map(({ spanId }) => spanId)]);
    const complete =
      SERVICES.every((service) => found.some((span) => span.service.startsWith(service))) &&
      found.every(({ parentSpanId }) => ids.has(parentSpanId)) &&
      found.some(({ name }) => name === 'router.route');
    return complete ? found : undefined;
  }
});
