import { Code, type HandlerContext, type Interceptor } from '@connectrpc/connect';
import type { Registry } from 'prom-client';
import { counterOf, histogramOf } from '#lib/telemetry/metrics.ts';
import { toConnectError } from '../errors.ts';
import { observeStream } from '../streams.ts';

const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Counts RPCs by method and gRPC code. */
export type CountRpc = (method: string, code: string, seconds?: number) => void;

export function rpcCounter(registry: Registry): CountRpc {
  const requests = counterOf(registry, 'stator_rpc_server_requests_total', 'RPCs ended, by gRPC code.', [
    'method',
    'code',
  ]);
  const durations = histogramOf(
    registry,
    'stator_rpc_server_duration_seconds',
    'Duration of RPCs, streams until their end.',
    BUCKETS,
    ['method'],
  );
  return (method, code, seconds) => {
    requests.inc({ method, code });
    if (seconds !== undefined) durations.observe({ method }, seconds);
  };
}

/** Server: request count and duration of every RPC, streams at their end. */
export function serverMetrics(count: CountRpc): Interceptor {
  return (next) => async (req) => {
    const started = performance.now();
    const method = methodLabel(req);
    let done = false;
    const settle = (thrown: unknown): unknown => {
      if (!done) count(method, codeLabel(thrown, req.signal), (performance.now() - started) / 1000);
      done = true;
      return thrown;
    };
    try {
      const response = await next(req);
      if (response.stream) return { ...response, message: observeStream(response.message, settle) };
      settle(undefined);
      return response;
    } catch (thrown) {
      throw settle(thrown);
    }
  };
}

/** `service/Method`: as many values as there are RPCs. */
export function methodLabel(rpc: Pick<HandlerContext, 'service' | 'method'>): string {
  return `${rpc.service.typeName}/${rpc.method.name}`;
}

function codeLabel(thrown: unknown, signal: AbortSignal): string {
  if (thrown === undefined) return signal.aborted ? 'canceled' : 'ok';
  return codeName(toConnectError(thrown).code);
}

export function codeName(code: Code): string {
  return Code[code].replace(/(?<=[a-z])[A-Z]/g, '_$&').toLowerCase();
}
