import { StatorError } from '#lib/errors/errors.ts';

/** Where a request ran, as the gateway names it. */
export interface AnswerWorkers {
  /** Identifier and data parallel rank of a worker: "123/0". */
  readonly prefill: string;
  readonly decode: string;
}

interface Chunk {
  readonly choices?: readonly { readonly text?: string | null; readonly finish_reason?: string | null }[];
  readonly usage?: {
    readonly prompt_tokens?: number;
    readonly completion_tokens?: number;
    readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null;
  } | null;
  readonly nvext?: {
    readonly worker_id?: WorkerIds | null;
    readonly completion_token_ids?: readonly number[] | null;
  } | null;
  readonly error?: { readonly code?: string | number | null; readonly message?: string };
}

/** Identifiers are decimal strings, or numbers from Dynamo. */
interface WorkerIds {
  readonly prefill_worker_id?: string | number | null;
  readonly prefill_dp_rank?: number | null;
  readonly decode_worker_id?: string | number | null;
  readonly decode_dp_rank?: number | null;
}

/** What a client sees of one streamed completion. Times are those that it is given with each event. */
export class Answer {
  firstTokenMs = Number.NaN;
  lastTokenMs = Number.NaN;
  longestGapMs = 0;
  promptTokens = Number.NaN;
  cachedTokens = 0;
  outputTokens = Number.NaN;
  workers: AnswerWorkers | undefined;
  /** Where they were asked for. */
  readonly outputIds: number[] = [];
  /** Whether the stream ended as it should. */
  done = false;

  /** Takes the data of an event. Throws the error that the stream tells, with its code. */
  take(data: string, atMs: number): void {
    if (data === '[DONE]') {
      this.done = true;
      return;
    }
    const chunk = parse(data);
    if (chunk.error !== undefined) throw streamError(chunk.error);
    const choice = chunk.choices?.[0];
    if (choice !== undefined && (hasText(choice.text) || hasText(choice.finish_reason))) this.#token(atMs);
    this.#usage(chunk);
    const ids = chunk.nvext?.worker_id;
    if (ids !== undefined && ids !== null) this.workers = workersOf(ids);
    for (const id of chunk.nvext?.completion_token_ids ?? []) this.outputIds.push(id);
  }

  #token(atMs: number): void {
    if (Number.isNaN(this.firstTokenMs)) this.firstTokenMs = atMs;
    else this.longestGapMs = Math.max(this.longestGapMs, atMs - this.lastTokenMs);
    this.lastTokenMs = atMs;
  }

  #usage({ usage }: Chunk): void {
    if (usage === undefined || usage === null) return;
    this.promptTokens = usage.prompt_tokens ?? this.promptTokens;
    this.outputTokens = usage.completion_tokens ?? this.outputTokens;
    this.cachedTokens = usage.prompt_tokens_details?.cached_tokens ?? 0;
  }
}

function parse(data: string): Chunk {
  let value: unknown;
  try {
    // Dynamo writes identifiers of workers as numbers beyond 2^53.
    value = data.includes('worker_id') ? JSON.parse(data, exactIntegers) : JSON.parse(data);
  } catch (cause) {
    throw new StatorError('backend_protocol', 'An event of the stream is not JSON.', { cause });
  }
  if (typeof value !== 'object' || value === null)
    throw new StatorError('backend_protocol', 'An event of the stream is no object.');
  return value;
}

function exactIntegers(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === 'number' && !Number.isSafeInteger(value) && Number.isInteger(value)
    ? (context?.source ?? value)
    : value;
}

function hasText(value: string | null | undefined): boolean {
  return value !== undefined && value !== null && value !== '';
}

function workersOf(ids: WorkerIds): AnswerWorkers | undefined {
  const { prefill_worker_id, decode_worker_id } = ids;
  const prefill = prefill_worker_id ?? decode_worker_id;
  const decode = decode_worker_id ?? prefill_worker_id;
  if (prefill === undefined || prefill === null || decode === undefined || decode === null) return undefined;
  return { prefill: `${prefill}/${ids.prefill_dp_rank ?? 0}`, decode: `${decode}/${ids.decode_dp_rank ?? 0}` };
}

/** An error whose code is what the deployment said, whichever deployment it is. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError';
  readonly code: string;
  /** Whether the request was refused before any output. */
  readonly refused: boolean;

  constructor(code: string, message: string, options: { readonly refused?: boolean; readonly cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.refused = options.refused ?? false;
  }
}

function streamError({ code, message }: NonNullable<Chunk['error']>): AnswerError {
  return new AnswerError(String(code ?? 'stream_error'), message ?? 'The stream told an error.');
}

/** The error of an answer that is no stream: the code of its body in OpenAI's shape, else its status. */
export function refusal(status: number, body: string): AnswerError {
  let code: unknown;
  let message = body.slice(0, 200);
  try {
    const { error } = JSON.parse(body) as { error?: { code?: unknown; message?: unknown } };
    code = error?.code;
    if (typeof error?.message === 'string') message = error.message;
  } catch {
    // Not everything on the way answers in JSON.
  }
  const named = typeof code === 'string' && code !== '' ? code : `http_${status}`;
  return new AnswerError(named, message, { refused: status < 500 || status === 503 || status === 529 });
}
