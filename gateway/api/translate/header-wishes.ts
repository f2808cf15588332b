import type { IncomingHttpHeaders } from 'node:http';

/** What headers say about a request; they win over its body. null: not said, or not well-formed. */
export interface HeaderWishes {
  readonly instanceId: string | null;
  readonly dataParallelRank: number | null;
  readonly priority: number | null;
  readonly strictPriority: number | null;
  readonly tenantId: string;
  readonly traceparent: string;
  readonly tracestate: string;
}

function first(headers: IncomingHttpHeaders, names: readonly string[]): string {
  for (const name of names) {
    const value = headers[name];
    const text = Array.isArray(value) ? value[0] : value;
    if (text !== undefined && text.trim() !== '') return text.trim();
  }
  return '';
}

function integer(text: string, min: number, max: number): number | null {
  if (!/^-?\d{1,10}$/.test(text)) return null;
  const value = Number(text);
  return value >= min && value <= max ? value : null;
}

/** Reads the routing headers of Dynamo's clients, the tenant and the W3C trace context. */
export function headerWishes(headers: IncomingHttpHeaders): HeaderWishes {
  const instanceId = first(headers, ['x-dynamo-worker-instance-id', 'x-worker-instance-id']);
  const traceparent = first(headers, ['traceparent']);
  return {
    instanceId: /^\d{1,20}$/.test(instanceId) ? instanceId : null,
    dataParallelRank: integer(
      first(headers, ['x-dynamo-dp-rank', 'x-dp-rank', 'x-data-parallel-rank']),
      0,
      0xffff_ffff,
    ),
    priority: integer(first(headers, ['x-dynamo-request-priority']), -0x8000_0000, 0x7fff_ffff),
    strictPriority: integer(first(headers, ['x-dynamo-request-strict-priority']), 0, 0xffff_ffff),
    tenantId: first(headers, ['x-tenant-id']).slice(0, 512),
    traceparent: /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(traceparent) ? traceparent : '',
    tracestate: first(headers, ['tracestate']).slice(0, 512),
  };
}
