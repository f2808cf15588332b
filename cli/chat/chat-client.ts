import { StatorError } from '#lib/errors/errors.ts';
import { readEvents } from './sse.ts';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export interface ChatClientOptions {
  readonly url: string;
  readonly apiKey?: string | undefined;
  readonly temperature?: number | undefined;
  readonly maxTokens?: number | undefined;
}

interface Chunk {
  readonly choices?: readonly { readonly delta?: { readonly content?: string | null } }[];
  readonly error?: { readonly message?: string };
}

/** Speaks to a gateway's REST port as any client would. */
export class ChatClient {
  readonly #options: ChatClientOptions;
  readonly #headers: Record<string, string>;

  constructor(options: ChatClientOptions) {
    this.#options = options;
    const { apiKey } = options;
    this.#headers = {
      'content-type': 'application/json',
      ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
    };
  }

  /** Names of the models that are served. */
  async models(signal?: AbortSignal): Promise<string[]> {
    const response = await this.#fetch('/v1/models', { ...(signal === undefined ? {} : { signal }) });
    const { data } = (await response.json()) as { data: { id: string }[] };
    return data.map(({ id }) => id);
  }

  /** Pieces of the answer as they come. Throws StatorError for whatever the gateway refuses. */
  async *answer(model: string, messages: readonly ChatMessage[], signal: AbortSignal): AsyncGenerator<string, void> {
    const { temperature, maxTokens: max_tokens } = this.#options;
    const body = JSON.stringify({ model, messages, stream: true, temperature, max_tokens });
    const response = await this.#fetch('/v1/chat/completions', { method: 'POST', body, signal });
    if (response.body === null) throw new StatorError('backend_protocol', 'The gateway answered without a body.');
    for await (const data of readEvents(response.body)) {
      if (data === '[DONE]') return;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error !== undefined) throw new StatorError('stream_incomplete', chunk.error.message ?? data);
      const text = chunk.choices?.[0]?.delta?.content;
      if (text !== undefined && text !== null && text !== '') yield text;
    }
    throw new StatorError('stream_incomplete', 'The answer broke off.');
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const { url } = this.#options;
    let response: Response;
    try {
      response = await fetch(new URL(path, url), { ...init, headers: this.#headers });
    } catch (cause) {
      if (init.signal?.aborted) throw cause;
      throw new StatorError('not_ready', `No gateway answers at ${url}. Start one: stator up`, { cause });
    }
    if (response.ok) return response;
    const body = (await response.json().catch(() => ({}))) as Chunk;
    throw new StatorError('backend_protocol', body.error?.message ?? `${url} answered ${response.status}.`);
  }
}
