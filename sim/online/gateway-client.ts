import { Agent } from 'undici';
import { StatorError } from '#lib/errors/errors.ts';
import { type Answer, AnswerError, refusal } from './answer.ts';
import { EventStream } from './event-stream.ts';

export interface GatewayOptions {
  /** http://host:port of an OpenAI-compatible gateway. */
  readonly url: string;
  readonly apiKey: string | undefined;
  /** Undefined: the first model that the gateway lists. */
  readonly model: string | undefined;
  /** Most connections, and so most requests at once. */
  readonly maxConnections: number;
  /** Longest silence before and within an answer. */
  readonly timeoutMs: number;
}

/** One request as it is sent. */
export interface CompletionQuestion {
  readonly tokens: Uint32Array;
  readonly outputTokens: number;
  /** Empty: none. */
  readonly sessionId: string;
  readonly priority: number;
  readonly strictPriority: number;
  readonly policyClass: string;
  /** Whether the token ids of the output are wanted. */
  readonly wantsOutput: boolean;
}

/** Asks a live gateway for completions of token ids over kept connections. */
export class GatewayClient {
  readonly #options: GatewayOptions;
  readonly #agent: Agent;
  readonly #origin: string;
  /** Path before `/v1`. */
  readonly #base: string;
  #model = '';

  constructor(options: GatewayOptions) {
    this.#options = options;
    const url = parsedUrl(options.url);
    this.#origin = url.origin;
    this.#base = url.pathname.replace(/\/(v1\/?)?$/, '');
    this.#agent = new Agent({
      connections: options.maxConnections,
      pipelining: 1,
      keepAliveTimeout: 60_000,
      headersTimeout: options.timeoutMs,
      bodyTimeout: options.timeoutMs,
    });
  }

  get model(): string {
    return this.#model;
  }

  /** Finds the model. Throws `not_ready` where nothing answers, `model_not_found` where the model is not served. */
  async open(signal?: AbortSignal): Promise<void> {
    const path = `${this.#base}/v1/models`;
    const { statusCode, body } = await this.#agent
      .request({ origin: this.#origin, path, method: 'GET', headers: this.#headers(), ...(signal && { signal }) })
      .catch((cause: unknown) => {
        throw new StatorError('not_ready', `No gateway answers at ${this.#options.url}.`, { cause });
      });
    const text = await body.text();
    if (statusCode !== 200) {
      const { code, message } = refusal(statusCode, text);
      throw new StatorError('backend_protocol', `${this.#options.url} answered ${statusCode} (${code}): ${message}`);
    }
    this.#model = chosenModel(text, this.#options);
  }

  /**
   * Asks and reads the whole answer. `nowMs` is asked for the time of each event. Throws AnswerError for whatever the
   * deployment or the connection did; what was answered until then is in `answer`.
   */
  async complete(
    question: CompletionQuestion,
    answer: Answer,
    nowMs: () => number,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await this.#ask(question, answer, nowMs, signal);
    } catch (thrown) {
      throw thrown instanceof AnswerError ? thrown : connectionError(thrown);
    }
    if (!answer.done) throw new AnswerError('stream_incomplete', 'The answer broke off.');
    if (Number.isNaN(answer.outputTokens)) throw new AnswerError('no_usage', 'The answer does not say its usage.');
  }

  /** Closes its connections. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #ask(question: CompletionQuestion, answer: Answer, nowMs: () => number, signal: AbortSignal): Promise<void> {
    const { statusCode, body } = await this.#agent.request({
      origin: this.#origin,
      path: `${this.#base}/v1/completions`,
      method: 'POST',
      headers: { ...this.#headers(), ...questionHeaders(question) },
      body: questionBody(this.#model, question),
      signal,
    });
    if (statusCode !== 200) throw refusal(statusCode, await body.text());
    const events = new EventStream();
    for await (const bytes of body as AsyncIterable<Uint8Array>) {
      const atMs = nowMs();
      for (const data of events.take(bytes)) answer.take(data, atMs);
    }
  }

  #headers(): Record<string, string> {
    const { apiKey } = this.#options;
    return {
      'content-type': 'application/json',
      accept: 'text/event-stream, application/json',
      ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
    };
  }
}

function parsedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw StatorError.invalid('--online', `--online: ${JSON.stringify(text)} is not an http:// or https:// URL.`);
  return url;
}

function chosenModel(text: string, { url, model }: GatewayOptions): string {
  let ids: string[];
  try {
    ids = (JSON.parse(text) as { data: { id: string }[] }).data.map(({ id }) => id);
  } catch (cause) {
    throw new StatorError('backend_protocol', `${url}/v1/models does not answer as an OpenAI API does.`, { cause });
  }
  const [first] = ids;
  if (first === undefined) throw new StatorError('not_ready', `${url} serves no model yet.`);
  if (model !== undefined && !ids.includes(model))
    throw new StatorError('model_not_found', `${url} does not serve ${model}; it serves ${ids.join(', ')}.`);
  return model ?? first;
}

/** Under the names that Dynamo's frontend and ours both know. */
function questionHeaders({
  sessionId,
  priority,
  strictPriority,
  policyClass,
}: CompletionQuestion): Record<string, string> {
  return {
    ...(sessionId === '' ? {} : { 'x-dynamo-session-id': sessionId }),
    ...(priority === 0 ? {} : { 'x-dynamo-request-priority': String(priority) }),
    ...(strictPriority === 0 ? {} : { 'x-dynamo-request-strict-priority': String(strictPriority) }),
    ...(policyClass === '' ? {} : { 'x-dynamo-meta-policy-class': policyClass }),
  };
}

function questionBody(model: string, { tokens, outputTokens, wantsOutput }: CompletionQuestion): string {
  const rest = JSON.stringify({
    max_tokens: outputTokens,
    min_tokens: outputTokens,
    ignore_eos: true,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
    nvext: { extra_fields: wantsOutput ? ['worker_id', 'completion_token_ids'] : ['worker_id'] },
  });
  return `{"model":${JSON.stringify(model)},"prompt":[${tokens.join(',')}],${rest.slice(1)}`;
}

/** What happened to a connection, whichever layer noticed. */
const connectionCodes: Readonly<Record<string, string>> = {
  UND_ERR_SOCKET: 'connection_lost',
  ECONNRESET: 'connection_lost',
  EPIPE: 'connection_lost',
  ECONNREFUSED: 'connection_refused',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
};

function connectionError(thrown: unknown): AnswerError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return new AnswerError(connectionCodes[code] ?? code, error.message, { cause: thrown });
}
