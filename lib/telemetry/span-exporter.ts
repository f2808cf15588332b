import { OTLPTraceExporter as GrpcTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as HttpTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import type { SpanExporter } from '@opentelemetry/sdk-trace-node';

/** An exporter for the endpoint: a URL with a path, or port 4318, speaks OTLP over HTTP; anything else gRPC. */
export function createSpanExporter(endpoint: string): SpanExporter {
  const url = new URL(endpoint);
  if (url.pathname.length > 1) return new HttpTraceExporter({ url: endpoint });
  if (url.port === '4318') return new HttpTraceExporter({ url: new URL('/v1/traces', url).href });
  return new GrpcTraceExporter({ url: endpoint });
}
