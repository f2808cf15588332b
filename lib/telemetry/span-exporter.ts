import { ExportResultCode } from '@opentelemetry/core';
import type { SpanExporter } from '@opentelemetry/sdk-trace-node';
import { StatorError } from '#lib/errors/errors.ts';

/** Below the time that the end of a process waits for the last spans. */
const EXPORT_TIMEOUT_MS = 2000;

/**
 * An exporter for an OTLP endpoint: a URL with a path, or port 4318, speaks OTLP over HTTP; anything else gRPC.
 * Throws `invalid_argument` unless it is an http or https URL.
 */
export function createSpanExporter(endpoint: string): SpanExporter {
  const url = URL.parse(endpoint);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw StatorError.invalid('otlpEndpoint', `otlpEndpoint: ${JSON.stringify(endpoint)} is not an http or https URL.`);
  }
  return deferred(loadExporter(url));
}

/** Exporters are loaded only where they are used: they cost every start of every other process 50 ms. */
async function loadExporter(url: URL): Promise<SpanExporter> {
  const hasPath = url.pathname.length > 1;
  if (!hasPath && url.port !== '4318') {
    const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-grpc');
    return new OTLPTraceExporter({ url: url.href, timeoutMillis: EXPORT_TIMEOUT_MS });
  }
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
  const target = hasPath ? url.href : new URL('/v1/traces', url).href;
  return new OTLPTraceExporter({ url: target, timeoutMillis: EXPORT_TIMEOUT_MS });
}

function deferred(loading: Promise<SpanExporter>): SpanExporter {
  return {
    export: (spans, done) => {
      loading.then(
        (exporter) => exporter.export(spans, done),
        (error: Error) => done({ code: ExportResultCode.FAILED, error }),
      );
    },
    forceFlush: async () => (await loading).forceFlush?.(),
    shutdown: async () => (await loading).shutdown(),
  };
}
