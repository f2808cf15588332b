import { trace } from '@opentelemetry/api';
import { type DestinationStream, type Logger, pino } from 'pino';
import { PinoPretty } from 'pino-pretty';

export type LogFormat = 'json' | 'pretty';

/** Keys that may hold secrets, wherever they stand in a log record. */
const secretKeys = [
  'authorization',
  'cookie',
  'token',
  'internalToken',
  'apiKey',
  'api_key',
  '"x-api-key"',
  'password',
  'secret',
];

/** Logs to standard error, so that standard output stays the command's own. */
export function createLogger(
  options: { service: string; logLevel: string; logFormat: LogFormat },
  destination: DestinationStream = standardError(options.logFormat),
): Logger {
  return pino(
    {
      level: options.logLevel,
      base: { service: options.service },
      redact: { paths: secretKeys.flatMap(secretPaths), censor: '[redacted]' },
      mixin: traceFields,
    },
    destination,
  );
}

function standardError(format: LogFormat): DestinationStream {
  if (format === 'json') return pino.destination({ fd: 2, sync: false });
  return PinoPretty({
    destination: 2,
    sync: true,
    ignore: 'pid,hostname',
    translateTime: 'SYS:HH:MM:ss.l',
    colorize: process.stderr.isTTY,
  });
}

function secretPaths(key: string): string[] {
  return key.startsWith('"') ? [`[${key}]`, `*[${key}]`, `*.*[${key}]`] : [key, `*.${key}`, `*.*.${key}`];
}

function traceFields(): object {
  const span = trace.getActiveSpan()?.spanContext();
  return span === undefined ? {} : { trace_id: span.traceId, span_id: span.spanId };
}
