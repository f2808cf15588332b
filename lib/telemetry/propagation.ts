import { type Context, context, propagation, type TextMapGetter, type TextMapSetter } from '@opentelemetry/api';

type HeaderRecord = Readonly<Record<string, string | readonly string[] | undefined>>;

const fromRecord: TextMapGetter<HeaderRecord> = {
  keys: (carrier) => Object.keys(carrier),
  get: (carrier, key) => {
    const value = carrier[key];
    return typeof value === 'string' ? value : value?.[0];
  },
};

const fromHeaders: TextMapGetter<Headers> = {
  keys: (carrier) => [...carrier.keys()],
  get: (carrier, key) => carrier.get(key) ?? undefined,
};

const toHeaders: TextMapSetter<Headers> = { set: (carrier, key, value) => carrier.set(key, value) };

/** The caller's context from its `traceparent` and `tracestate` headers; the active context where it sent none. */
export function extractTrace(headers: Headers | HeaderRecord): Context {
  const active = context.active();
  return headers instanceof Headers
    ? propagation.extract(active, headers, fromHeaders)
    : propagation.extract(active, headers, fromRecord);
}

/** Writes a context (default: the active one) into headers as `traceparent` and `tracestate`. */
export function injectTrace(headers: Headers, from: Context = context.active()): void {
  propagation.inject(from, headers, toHeaders);
}
