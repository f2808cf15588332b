import { context, type Span, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { errorClasses } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Endpoint, GatewayMetrics, RequestType } from '../metrics/metrics.ts';
import type { Generation } from '../pipeline/generation.ts';
import { currentCaller } from '../tenants/caller.ts';
import type { JournalledRequest, RequestJournal } from './request-journal.ts';

/** Where a trace comes from and goes on. */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate: string;
}

function parentOf(traceparent: string): ReturnType<typeof context.active> {
  const [, traceId, spanId, flags] = traceparent.split('-');
  if (traceId === undefined || spanId === undefined) return context.active();
  const traceFlags = flags === '00' ? TraceFlags.NONE : TraceFlags.SAMPLED;
  return trace.setSpanContext(context.active(), { traceId, spanId, traceFlags, isRemote: true });
}

/** One request for the outside world: its span, its metrics and its log record, ended exactly once. */
export class RequestRecord implements JournalledRequest {
  readonly receivedMs = performance.now();
  readonly #telemetry: Telemetry;
  readonly #metrics: GatewayMetrics;
  readonly endpoint: Endpoint;
  readonly requestId: string;
  readonly #journal: RequestJournal;
  readonly #span: Span;
  #type: RequestType = 'unary';
  #model: string | null = null;
  #generations: readonly Generation[] = [];
  endedMs = 0;
  #failure: StatorError | null = null;
  #key = '';

  constructor(
    parts: { telemetry: Telemetry; metrics: GatewayMetrics; journal: RequestJournal },
    o: { endpoint: Endpoint; requestId: string; method: string; path: string; traceparent: string },
  ) {
    this.#telemetry = parts.telemetry;
    this.#metrics = parts.metrics;
    this.#journal = parts.journal;
    this.endpoint = o.endpoint;
    this.requestId = o.requestId;
    const attributes = { 'http.request.method': o.method, 'url.path': o.path, 'stator.request_id': o.requestId };
    const options = { kind: SpanKind.SERVER, attributes };
    this.#span = parts.telemetry.tracer.startSpan(`${o.method} ${o.path}`, options, parentOf(o.traceparent));
    this.#journal.begin(this);
  }

  get key(): string {
    return this.#key;
  }

  get model(): string {
    return this.#model ?? '';
  }

  get type(): RequestType {
    return this.#type;
  }

  get generations(): readonly Generation[] {
    return this.#generations;
  }

  /** The body is read: which model it asks for, and in which form. */
  identified(model: string, type: RequestType): void {
    this.#type = type;
    this.#key = currentCaller()?.id ?? '';
    this.#model = this.#metrics.modelLabel(model);
    this.#metrics.started(this.#model);
    this.#span.setAttribute('gen_ai.request.model', this.#model);
  }

  attributes(attributes: Readonly<Record<string, string>>): void {
    this.#span.setAttributes(attributes);
  }

  running(generations: readonly Generation[]): void {
    this.#generations = generations;
  }

  /** The context that the services behind continue: this span, or the caller's where tracing is off. */
  traceContext(incoming: TraceContext): TraceContext {
    const { traceId, spanId, traceFlags } = this.#span.spanContext();
    if (/^0*$/.test(traceId)) return incoming;
    return {
      traceparent: `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`,
      tracestate: incoming.tracestate,
    };
  }

  /** Runs work in which calls to other services continue this span. */
  within<T>(work: () => T): T {
    return context.with(trace.setSpan(context.active(), this.#span), work);
  }

  /** Why it failed, once it has ended; null: it did not. */
  get failure(): StatorError | null {
    return this.#failure;
  }

  end(thrown: unknown): void {
    if (this.endedMs > 0) return;
    this.endedMs = performance.now();
    this.#journal.end(this);
    const error = thrown === null ? null : StatorError.from(thrown);
    this.#failure = error;
    const seconds = (this.endedMs - this.receivedMs) / 1000;
    if (this.#model === null) this.identified('', this.#type);
    const model = this.#model ?? '';
    const outcome = { error, seconds, generations: this.#generations };
    this.#metrics.ended({ model, endpoint: this.endpoint, type: this.#type, ...outcome });
    if (error?.code === 'cancelled') this.#metrics.disconnected.inc();
    this.#endSpan(error);
    this.#log(error, model, seconds);
  }

  #endSpan(error: StatorError | null): void {
    const span = this.#span;
    const [first] = this.#generations;
    if (first !== undefined) {
      const { receivedMs, firstTokenMs } = first.times;
      if (firstTokenMs > 0) span.setAttribute('stator.ttft_ms', firstTokenMs - receivedMs);
      if (first.decision !== null) span.setAttribute('stator.worker_id', first.decision.instanceId.toString());
      if (first.decodeDecision !== null)
        span.setAttribute('stator.decode_worker_id', first.decodeDecision.instanceId.toString());
      span.setAttribute(
        'gen_ai.usage.input_tokens',
        this.#sum((generation) => generation.prompt.tokenIds.length),
      );
      span.setAttribute(
        'gen_ai.usage.output_tokens',
        this.#sum((generation) => generation.outputTokens),
      );
    }
    if (error !== null) {
      span.setAttribute('error.type', error.code);
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
    }
    span.end();
  }

  #log(error: StatorError | null, model: string, seconds: number): void {
    const fields = {
      request_id: this.requestId,
      model,
      endpoint: this.endpoint,
      type: this.#type,
      duration_ms: Math.round(seconds * 1000),
      input_tokens: this.#sum((generation) => generation.prompt.tokenIds.length),
      output_tokens: this.#sum((generation) => generation.outputTokens),
      migrations: this.#sum((generation) => generation.migrations),
    };
    const { log } = this.#telemetry;
    if (error === null) log.info(fields, 'request answered');
    else if (errorClasses[error.code].http >= 500)
      log.error({ ...fields, code: error.code, err: error }, 'request failed');
    else log.info({ ...fields, code: error.code, reason: error.message }, 'request refused');
  }

  #sum(of: (generation: Generation) => number): number {
    return this.#generations.reduce((sum, generation) => sum + of(generation), 0);
  }
}
