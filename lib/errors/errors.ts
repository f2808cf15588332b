import type { ErrorCode } from './codes.ts';

/** What an error says beyond its code and message; every part may travel to the caller. */
export interface ErrorDetails {
  /** Request field at fault, in the caller's own spelling, for example `messages[0].content`. */
  readonly field?: string;
  /** Milliseconds after which trying again makes sense. */
  readonly retryAfterMs?: number;
  /** Whether another worker may succeed with the same request. Unset: the code's own answer. */
  readonly retryable?: boolean;
  /** Further facts, for example `{ limit: 4096, actual: 5000 }`. Values must be JSON. */
  readonly facts?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** The one error class of Stator: a stable code, a message for people, typed details. */
export class StatorError extends Error {
  override readonly name = 'StatorError';
  readonly code: ErrorCode;
  readonly field: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly retryable: boolean | undefined;
  readonly facts: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.field = details.field;
    this.retryAfterMs = details.retryAfterMs;
    this.retryable = details.retryable;
    this.facts = details.facts;
  }

  /** An argument that the caller must change; `field` names it. */
  static invalid(field: string, message: string, details: ErrorDetails = {}): StatorError {
    return new StatorError('invalid_argument', message, { ...details, field });
  }

  static unsupported(field: string, message: string): StatorError {
    return new StatorError('unsupported', message, { field });
  }

  static notFound(message: string, details: ErrorDetails = {}): StatorError {
    return new StatorError('not_found', message, details);
  }

  /** Whatever was thrown, as a StatorError; foreign errors become `internal` and keep their cause. */
  static from(thrown: unknown): StatorError {
    if (thrown instanceof StatorError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new StatorError('internal', message, { cause: thrown });
  }
}
