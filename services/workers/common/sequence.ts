import { create } from '@bufbuild/protobuf';
import { ROOT_CONTEXT, type Span, type TextMapGetter, type Tracer } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { type GenerateRequest, type SequenceError, SequenceErrorSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { errorClasses, isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { FinishedInfo, SessionSequence } from '#lib/rpc/session/server.ts';
import type { SequenceHandle } from './engine.ts';

/** Where the tokens of a sequence go: a session's slot, a Generate stream, or the worker's own test. */
export type SequenceSink = Pick<SessionSequence, 'addToken' | 'addLogprobs' | 'prefilled' | 'finished'>;

/** A sequence between submit and its end. */
export interface RunningSequence {
  readonly handle: SequenceHandle;
  readonly request: GenerateRequest;
  readonly sink: SequenceSink;
  readonly span: Span;
  readonly submittedMs: number;
  /** The worker's own test, which is no request. */
  readonly selfTest: boolean;
  outputTokens: number;
  /** What its end is called when the worker itself cancels it. */
  endsAs: StatorError | undefined;
  deadline: NodeJS.Timeout | undefined;
}

export function toSequenceError(error: StatorError): SequenceError {
  return create(SequenceErrorSchema, {
    code: error.code,
    message: error.message,
    retryable: error.retryable ?? errorClasses[error.code].retryable,
    field: error.field ?? '',
  });
}

export function fromSequenceError(error: NonNullable<FinishedInfo['error']>): StatorError {
  const code = error.code ?? '';
  const field = error.field ?? '';
  const details = { retryable: error.retryable ?? false, ...(field !== '' && { field }) };
  return new StatorError(isErrorCode(code) ? code : 'internal', error.message ?? '', details);
}

const propagator = new W3CTraceContextPropagator();
const getter: TextMapGetter<GenerateRequest> = {
  keys: () => ['traceparent', 'tracestate'],
  get: (request, key) => (key === 'traceparent' ? request.traceparent : request.tracestate) || undefined,
};

/** A span that continues the request's own trace, because one session carries the requests of many. */
export function startSequenceSpan(tracer: Tracer, request: GenerateRequest, model: string): Span {
  const parent = propagator.extract(ROOT_CONTEXT, request, getter);
  const attributes = {
    'stator.request_id': request.requestId,
    'stator.model': model,
    'stator.prompt_tokens': request.tokenIds.length,
  };
  return tracer.startSpan('engine.generate', { attributes }, parent);
}
