import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { createRpcClient, type RpcClient } from './client.ts';
import { type RpcServer, startRpcServer } from './server.ts';

describe('RPC tracing', () => {
  const spans = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
  const telemetry: Telemetry = { ...quietTelemetry(), tracer: provider.getTracer('test') };
  let server: RpcServer;
  let rpc: RpcClient<typeof EngineService>;
  let seen: (string | undefined)[] = [];

  before(async () => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    const note = (): void => void seen.push(trace.getActiveSpan()?.spanContext().traceId);
    server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: (router) =>
        router.service(EngineService, {
          abort: ({ requestId }) => {
            note();
            if (requestId === 'bad') throw new StatorError('overloaded', 'too busy');
            return {};
          },
          generate: async function* () {
            note();
            yield { tokenIds: [1] };
            await new Promise(setImmediate);
            note();
            yield { tokenIds: [2] };
          },
        }),
    });
    rpc = createRpcClient(EngineService, { address: server.address }, telemetry);
  });

  beforeEach(() => {
    spans.reset();
    seen = [];
  });

  after(async () => {
    rpc.close();
    await server.stop(0);
    await provider.shutdown();
    context.disable();
    propagation.disable();
  });

  it('makes client and server spans of one trace, below the caller, and runs the handler inside', async () => {
    const parent = telemetry.tracer.startSpan('parent');
    const { traceId, spanId } = parent.spanContext();
    await context.with(trace.setSpan(context.active(), parent), () => rpc.client.abort({}));
    const [onServer, onClient] = spans.getFinishedSpans().toSorted((a, b) => a.kind - b.kind);
    expect([onServer?.name, onClient?.name]).to.deep.equal(Array(2).fill('stator.engine.v1.EngineService/Abort'));
    expect([onServer?.kind, onClient?.kind]).to.deep.equal([SpanKind.SERVER, SpanKind.CLIENT]);
    expect(onClient?.parentSpanContext?.spanId).to.equal(spanId);
    expect(onServer?.parentSpanContext?.spanId).to.equal(onClient?.spanContext().spanId);
    expect(seen).to.deep.equal([traceId]);
  });

  /** The server ends its span when it has sent the last message, which may be before the client reads it. */
  function clientSpans(): number {
    return spans.getFinishedSpans().filter((span) => span.kind === SpanKind.CLIENT).length;
  }

  it('keeps the context through every message of a stream and ends the span after it', async () => {
    for await (const _ of rpc.client.generate({})) expect(clientSpans()).to.equal(0);
    const [one, two] = spans.getFinishedSpans();
    expect(one?.spanContext().traceId).to.equal(two?.spanContext().traceId);
    expect(seen).to.deep.equal(Array(2).fill(one?.spanContext().traceId));
  });

  it('marks failed calls', async () => {
    await rpc.client.abort({ requestId: 'bad' }).catch(() => {});
    for (const span of spans.getFinishedSpans()) {
      expect(span.status.code).to.equal(SpanStatusCode.ERROR);
      expect(span.status.message).to.equal('resource_exhausted: too busy');
    }
  });
});
