import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import { context, isSpanContextValid, SpanKind, trace } from '@opentelemetry/api';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { createLogger } from './logger.ts';
import { gaugeOf } from './metrics.ts';
import { extractTrace, injectTrace } from './propagation.ts';
import { createTelemetry } from './telemetry.ts';

interface Export {
  readonly resourceSpans: readonly {
    readonly resource: {
      readonly attributes: readonly { readonly key: string; readonly value: { readonly stringValue?: string } }[];
    };
    readonly scopeSpans: readonly {
      readonly spans: readonly { readonly name: string; readonly traceId: string; readonly parentSpanId?: string }[];
    }[];
  }[];
}

/** A collector that speaks OTLP over HTTP and keeps what it gets. */
async function startCollector(): Promise<{ url: string; exports: Export[]; server: Server }> {
  const exports: Export[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    exports.push(JSON.parse(body) as Export);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`, exports, server };
}

function lines(): { stream: Writable; records: () => Record<string, unknown>[] } {
  let text = '';
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString();
      done();
    },
  });
  return {
    stream,
    records: () =>
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

const quiet = { logLevel: 'silent', logFormat: 'json' } as const;

describe('telemetry', () => {
  it('exports spans with their service and their parent to a collector', async () => {
    const { url, exports, server } = await startCollector();
    const telemetry = createTelemetry({ service: 'probe', instanceId: 255n, otlpEndpoint: url, ...quiet });
    const incoming = extractTrace({ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    telemetry.tracer.startSpan('work', { kind: SpanKind.SERVER }, incoming).end();
    await telemetry.shutdown();
    server.close();
    const [{ resource, scopeSpans } = { resource: { attributes: [] }, scopeSpans: [] }] = exports.flatMap(
      (each) => each.resourceSpans,
    );
    const attributes = Object.fromEntries(resource.attributes.map(({ key, value }) => [key, value.stringValue]));
    expect(attributes).to.deep.include({ 'service.name': 'stator-probe', 'service.instance.id': 'ff' });
    expect(scopeSpans[0]?.spans[0]).to.deep.include({
      name: 'work',
      traceId: '0af7651916cd43dd8448eb211c80319c',
      parentSpanId: 'b7ad6b7169203331',
    });
  });

  it('lives on, counts and ends when no collector answers', async () => {
    const telemetry = createTelemetry({ service: 'probe', otlpEndpoint: 'http://127.0.0.1:1/v1/traces', ...quiet });
    telemetry.tracer.startSpan('lost').end();
    await telemetry.shutdown();
    await telemetry.shutdown();
    expect(await telemetry.metrics.metrics()).to.match(/stator_trace_export_errors_total [1-9]/);
  });

  it('refuses an endpoint that is no URL', () => {
    expect(() => createTelemetry({ service: 'probe', otlpEndpoint: 'collector', ...quiet }))
      .to.throw(StatorError)
      .with.property('field', 'otlpEndpoint');
  });

  it('gives each telemetry a registry with the metrics of the process', async () => {
    const [one, two] = [createTelemetry({ service: 'a', ...quiet }), createTelemetry({ service: 'b', ...quiet })];
    expect(one.metrics).not.to.equal(two.metrics);
    expect(await one.metrics.metrics())
      .to.include('stator_nodejs_eventloop_lag_seconds')
      .and.include('stator_process_cpu_seconds_total');
  });

  it('writes a value that is no number as the format has it', async () => {
    const { metrics } = createTelemetry({ service: 'a', ...quiet });
    gaugeOf(metrics, 'stator_probe', 'A probe.').set(Number.NaN);
    expect(await metrics.metrics()).to.match(/^stator_probe NaN$/m);
  });
});

describe('trace propagation', () => {
  it('carries a context through headers', () => {
    const parent = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=b' };
    const headers = new Headers();
    injectTrace(headers, extractTrace(parent));
    expect(Object.fromEntries(headers)).to.deep.equal(parent);
    expect(trace.getSpanContext(extractTrace(headers))?.spanId).to.equal('b7ad6b7169203331');
  });

  it('ignores what is no trace context', () => {
    const span = trace.getSpanContext(extractTrace({ traceparent: 'nonsense' }));
    expect(span === undefined || !isSpanContextValid(span)).to.equal(true);
  });

  it('keeps the active context across awaits', async () => {
    const parent = extractTrace({ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    const seen = await context.with(parent, async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return trace.getActiveSpan()?.spanContext().traceId;
    });
    expect(seen).to.equal('0af7651916cd43dd8448eb211c80319c');
  });
});

describe('log', () => {
  it('redacts secrets wherever they stand', () => {
    const { stream, records } = lines();
    const log = createLogger({ service: 'probe', logLevel: 'info', logFormat: 'json' }, stream);
    log.info(
      { token: 's3cret', request: { headers: { authorization: 's3cret', 'x-api-key': 's3cret' } }, apiKey: 's3cret' },
      'x',
    );
    expect(JSON.stringify(records())).not.to.include('s3cret');
    expect(records()[0]).to.deep.include({ service: 'probe', token: '[redacted]', msg: 'x' });
  });

  it('names the active trace', () => {
    const { stream, records } = lines();
    const log = createLogger({ service: 'probe', logLevel: 'info', logFormat: 'json' }, stream);
    const parent = extractTrace({ traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    context.with(parent, () => log.info('inside'));
    log.info('outside');
    expect(records()[0]).to.include({ trace_id: '0af7651916cd43dd8448eb211c80319c', span_id: 'b7ad6b7169203331' });
    expect(records()[1]).not.to.have.property('trace_id');
  });
});
