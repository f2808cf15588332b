import type { Transport } from '@connectrpc/connect';

/**
 * Client: a deadline for unary calls that have none of their own. A transport around a transport, because interceptors run
 * after the deadline is set. Servers honour the deadline themselves: connect aborts the handler's signal.
 */
export function defaultDeadline(transport: Transport, timeoutMs: number): Transport {
  return {
    unary: (method, signal, ownTimeoutMs, header, input, values) =>
      transport.unary(method, signal, ownTimeoutMs ?? timeoutMs, header, input, values),
    stream: (...call) => transport.stream(...call),
  };
}
