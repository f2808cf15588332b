import type { Interceptor, StreamResponse, UnaryResponse } from '@connectrpc/connect';
import {
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type TextMapSetter,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { toConnectError } from '../errors.ts';
import { observeStream } from '../streams.ts';
import { codeName } from './metrics.ts';

const getter: TextMapGetter<Headers> = {
  keys: (headers) => [...headers.keys()],
  get: (headers, key) => headers.get(key) ?? undefined,
};
const setter: TextMapSetter<Headers> = { set: (headers, key, value) => headers.set(key, value) };

/** Server: a span for each RPC, child of the caller's W3C context; handlers run inside it. */
export function serverTracing(tracer: Tracer): Interceptor {
  return (next) => (req) => {
    const parent = propagation.extract(ROOT_CONTEXT, req.header, getter);
    const span = startSpan(tracer, SpanKind.SERVER, req, parent);
    const active = trace.setSpan(parent, span);
    return follow(span, active, () => next(req));
  };
}

/** Client: a span for each RPC, child of the active one, whose W3C context travels in the headers. */
export function clientTracing(tracer: Tracer): Interceptor {
  return (next) => (req) => {
    const span = startSpan(tracer, SpanKind.CLIENT, req, context.active());
    const active = trace.setSpan(context.active(), span);
    propagation.inject(active, req.header, setter);
    return follow(span, active, () => next(req));
  };
}

type Response = UnaryResponse | StreamResponse;
type Rpc = Parameters<ReturnType<Interceptor>>[0];

function startSpan(tracer: Tracer, kind: SpanKind, req: Rpc, parent: Context): Span {
  const attributes = { 'rpc.system': 'grpc', 'rpc.service': req.service.typeName, 'rpc.method': req.method.name };
  return tracer.startSpan(`${req.service.typeName}/${req.method.name}`, { kind, attributes }, parent);
}

async function follow(span: Span, active: Context, call: () => Promise<Response>): Promise<Response> {
  const settle = (thrown: unknown): unknown => {
    endSpan(span, thrown);
    return thrown;
  };
  try {
    const response = await context.with(active, call);
    if (response.stream) return { ...response, message: observeStream(within(active, response.message), settle) };
    settle(undefined);
    return response;
  } catch (thrown) {
    throw settle(thrown);
  }
}

function endSpan(span: Span, thrown: unknown): void {
  if (thrown !== undefined) {
    const error = toConnectError(thrown);
    span.setAttribute('rpc.grpc.status_code', error.code);
    span.setStatus({ code: SpanStatusCode.ERROR, message: `${codeName(error.code)}: ${error.rawMessage}` });
  } else span.setAttribute('rpc.grpc.status_code', 0);
  span.end();
}

/** Runs every step of a stream inside the context, because a generator runs in that of whoever asks for the next message. */
function within<T>(active: Context, source: AsyncIterable<T>): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = source[Symbol.asyncIterator]();
      const next = context.bind(active, () => iterator.next());
      return {
        next,
        return: async (value?: unknown): Promise<IteratorResult<T>> =>
          (await iterator.return?.(value)) ?? { done: true, value },
      };
    },
  };
}
