import { type ExportResult, ExportResultCode } from '@opentelemetry/core';
import type { SpanExporter } from '@opentelemetry/sdk-trace-node';
import { StatorError } from '#lib/errors/errors.ts';

/** Below the time that the end of a process waits for the last spans. */
const EXPORT_TIMEOUT_MS = 2000;

/**
 * An exporter for an OTLP endpoint: a URL with a path, or port 4318, speaks OTLP over HTTP; anything else gRPC.
 * `onFailure` hears of each batch that is lost. Throws `invalid_argument` unless it is an http or https URL.
 */
export function createSpanExporter(endpoint: string, onFailure: (error: Error | undefined) => void): SpanExporter {
  const url = URL.parse(endpoint);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw StatorError.invalid('otlpEndpoint', `otlpEndpoint: ${JSON.stringify(endpoint)} is not an http or https URL.`);
  }
  return reporting(loadExporter(url), onFailure);
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

/** Reports each batch that is lost; the batch processor itself would keep silent about the last ones. */
function reporting(loading: Promise<SpanExporter>, onFailure: (error: Error | undefined) => void): SpanExporter {
  return {
    export: (spans, done) => {
      const finish = (result: ExportResult): void => {
        if (result.code !== ExportResultCode.SUCCESS) onFailure(result.error);
        done(result);
      };
      loading.then(
        (exporter) => exporter.export(spans, finish),
        (error: Error) => finish({ code: ExportResultCode.FAILED, error }),
      );
    },
    forceFlush: async () => (await loading).forceFlush?.(),
    shutdown: async () => (await loading).shutdown(),
  };
}
