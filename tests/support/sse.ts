/** `usage` of an answer, as far as tests read it. */
export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** One output token with its log-probability. */
export interface Position {
  readonly token: string;
  readonly logprob: number;
  readonly top_logprobs: readonly { readonly token: string; readonly logprob: number }[];
}

/** An event that is no chunk, for example an annotation. */
export interface NamedEvent {
  readonly name: string;
  readonly data: unknown;
  /** Characters of text that came before it. */
  readonly textBefore: number;
}

interface Chunk {
  readonly choices: readonly [
    {
      readonly delta: { readonly content?: string };
      readonly logprobs: { readonly content: readonly Position[] } | null;
      readonly finish_reason: string | null;
    }?,
  ];
  readonly usage?: Usage | null;
  readonly nvext?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string; readonly code: string };
}

/** A streamed chat that is read as it comes. */
export interface ChatStream {
  readonly text: string;
  readonly finishReason: string | null;
  readonly usage: Usage | null;
  readonly nvext: Readonly<Record<string, unknown>>;
  /** Output tokens, where log-probabilities were asked for. */
  readonly positions: readonly Position[];
  readonly events: readonly NamedEvent[];
  /** Milliseconds from the request to the first text; 0: none yet. */
  readonly firstTextMs: number;
  /** Resolves once it has ended; rejects for an error, within the stream or in place of it. */
  readonly ended: Promise<ChatStream>;
  /** Leaves: the connection is closed. */
  leave(): void;
}

/** Asks for a streamed chat with usage. */
export function streamChat(url: string, body: object, headers: Readonly<Record<string, string>> = {}): ChatStream {
  return new Reader(url, { stream: true, stream_options: { include_usage: true }, ...body }, headers);
}

class Reader implements ChatStream {
  text = '';
  finishReason: string | null = null;
  usage: Usage | null = null;
  nvext: Readonly<Record<string, unknown>> = {};
  readonly positions: Position[] = [];
  readonly events: NamedEvent[] = [];
  firstTextMs = 0;
  readonly ended: Promise<ChatStream>;
  readonly #abort = new AbortController();
  readonly #startedMs = performance.now();

  constructor(url: string, body: object, headers: Readonly<Record<string, string>>) {
    this.ended = this.#read(url, body, headers);
    // A stream that was left ends with an error that nobody need await.
    this.ended.catch(() => undefined);
  }

  leave(): void {
    this.#abort.abort();
  }

  async #read(url: string, body: object, headers: Readonly<Record<string, string>>): Promise<ChatStream> {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
      signal: this.#abort.signal,
    });
    if (response.status !== 200 || response.body === null)
      throw new Error(`status ${response.status}: ${await response.text()}`);
    let rest = '';
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
      const events = (rest + part).split('\n\n');
      rest = events.pop() ?? '';
      for (const event of events) this.#take(event);
    }
    if (this.finishReason === null) throw new Error('the stream ended without a finish_reason');
    return this;
  }

  #take(event: string): void {
    const [, name, data = '[DONE]'] = /^(?:event: (.*)\n)?data: (.*)$/.exec(event) ?? [];
    if (data === '[DONE]') return;
    if (name !== undefined) {
      this.events.push({ name, data: JSON.parse(data), textBefore: this.text.length });
      return;
    }
    const { choices, usage, nvext, error } = JSON.parse(data) as Chunk;
    if (error !== undefined) throw new Error(`${error.code}: ${error.message}`);
    const content = choices[0]?.delta.content ?? '';
    if (content !== '' && this.firstTextMs === 0) this.firstTextMs = performance.now() - this.#startedMs;
    this.text += content;
    this.positions.push(...(choices[0]?.logprobs?.content ?? []));
    this.finishReason = choices[0]?.finish_reason ?? this.finishReason;
    this.usage = usage ?? this.usage;
    this.nvext = { ...this.nvext, ...nvext };
  }
}
