import { html, nothing, type TemplateResult } from 'lit-html';
import type { ConsoleState } from '../state.ts';
import { errorText } from './api.ts';
import { eventData } from './sse.ts';

interface ToolCall {
  name: string;
  arguments: string;
}

interface Message {
  readonly role: 'user' | 'assistant';
  content: string;
  reasoning: string;
  readonly calls: ToolCall[];
}

interface Delta {
  readonly content?: string | null;
  readonly reasoning_content?: string | null;
  readonly tool_calls?: readonly { index: number; function?: { name?: string; arguments?: string } }[];
}

interface Chunk {
  readonly choices?: readonly { delta: Delta; finish_reason: string | null }[];
  readonly error?: { readonly message: string };
}

/** A conversation with a model, as the page keeps it. */
export class Playground {
  readonly #messages: Message[] = [];
  readonly #changed: () => void;
  #running: AbortController | null = null;
  #problem = '';
  #requestId = '';

  /** `changed` is called whenever the view is another. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  view(state: ConsoleState | null): TemplateResult {
    const models = state?.models.filter(({ ready }) => ready) ?? [];
    return html`
      <h2>Chat</h2>
      <form class="chat" @submit=${(event: SubmitEvent) => this.#submit(event)}>
        <label>Model <select name="model">${models.map(({ name }) => html`<option>${name}</option>`)}</select></label>
        <label>API key, where keys are asked for <input name="key" type="password" autocomplete="off" /></label>
        <label>Temperature <input name="temperature" type="number" min="0" max="2" step="0.1" value="0.7" /></label>
        <label>Most tokens <input name="max_tokens" type="number" min="1" value="256" /></label>
        <label>Tools: a JSON array as in the API <textarea name="tools" spellcheck="false"></textarea></label>
        <label>Answer's JSON Schema <textarea name="schema" spellcheck="false"></textarea></label>
        <label class="wide">Message <textarea name="message" required></textarea></label>
        <div class="wide">
          <button type="submit" ?disabled=${this.#running !== null}>Send</button>
          <button type="button" ?disabled=${this.#running === null} @click=${() => this.#running?.abort()}>Stop</button>
          <button type="button" @click=${() => this.#clear()}>Clear</button>
        </div>
      </form>
      ${this.#problem === '' ? nothing : html`<p class="notice">${this.#problem}</p>`}
      <section class="messages">${this.#messages.map(messageView)}</section>
      ${this.#requestId === '' ? nothing : html`<p><a href="#/requests/${encodeURIComponent(this.#requestId)}">How this was answered</a></p>`}
    `;
  }

  #clear(): void {
    this.#running?.abort();
    this.#messages.length = 0;
    this.#problem = '';
    this.#requestId = '';
    this.#changed();
  }

  #submit(event: SubmitEvent): void {
    event.preventDefault();
    if (this.#running !== null || !(event.target instanceof HTMLFormElement)) return;
    const form = event.target;
    const field = (name: string): string => String(new FormData(form).get(name) ?? '').trim();
    this.#problem = '';
    try {
      const body = this.#body(field);
      const message = form.elements.namedItem('message');
      if (message instanceof HTMLTextAreaElement) message.value = '';
      void this.#ask(body, field('key'));
    } catch (thrown) {
      this.#problem = String(thrown instanceof Error ? thrown.message : thrown);
      this.#changed();
    }
  }

  /** Throws SyntaxError for tools or a schema that are no JSON. */
  #body(field: (name: string) => string): object {
    const tools = field('tools') === '' ? {} : { tools: JSON.parse(field('tools')) as unknown };
    const schema = field('schema') === '' ? undefined : (JSON.parse(field('schema')) as unknown);
    const format =
      schema === undefined
        ? {}
        : { response_format: { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } } };
    this.#messages.push({ role: 'user', content: field('message'), reasoning: '', calls: [] });
    return {
      model: field('model'),
      messages: this.#messages.map(({ role, content }) => ({ role, content })),
      temperature: Number(field('temperature')),
      max_tokens: Number(field('max_tokens')),
      stream: true,
      ...tools,
      ...format,
      nvext: { annotations: ['routing'] },
    };
  }

  async #ask(body: object, key: string): Promise<void> {
    const abort = new AbortController();
    const answer: Message = { role: 'assistant', content: '', reasoning: '', calls: [] };
    this.#running = abort;
    this.#messages.push(answer);
    this.#changed();
    try {
      const response = await fetch('/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(key === '' ? {} : { authorization: `Bearer ${key}` }) },
        body: JSON.stringify(body),
        signal: abort.signal,
      });
      this.#requestId = response.headers.get('x-request-id') ?? '';
      if (!response.ok || response.body === null) throw new Error(await errorText(response));
      for await (const data of eventData(response.body)) {
        if (data === '[DONE]') break;
        apply(answer, JSON.parse(data) as Chunk);
        this.#changed();
      }
    } catch (thrown) {
      if (!abort.signal.aborted) this.#problem = thrown instanceof Error ? thrown.message : String(thrown);
    } finally {
      this.#running = null;
      this.#changed();
    }
  }
}

/** Adds what a chunk brings. Throws for a chunk that is an error. */
function apply(answer: Message, { choices, error }: Chunk): void {
  if (error !== undefined) throw new Error(error.message);
  const delta = choices?.[0]?.delta;
  if (delta === undefined) return;
  answer.content += delta.content ?? '';
  answer.reasoning += delta.reasoning_content ?? '';
  for (const part of delta.tool_calls ?? []) {
    answer.calls[part.index] ??= { name: '', arguments: '' };
    const call = answer.calls[part.index];
    if (call === undefined) continue;
    call.name += part.function?.name ?? '';
    call.arguments += part.function?.arguments ?? '';
  }
}

function messageView({ role, content, reasoning, calls }: Message): TemplateResult {
  return html`<article class="message ${role}">
    <b>${role}</b>
    ${reasoning === '' ? nothing : html`<details open><summary>Reasoning</summary><pre>${reasoning}</pre></details>`}
    ${content === '' ? nothing : html`<pre class="content">${content}</pre>`}
    ${calls.map((call) => html`<pre class="call">${call.name}(${call.arguments})</pre>`)}
  </article>`;
}
