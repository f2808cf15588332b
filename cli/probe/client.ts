import { readEvents } from '../chat/sse.ts';
import { emptyAnswer, type Observed, type Refused } from './observed.ts';

interface ToolPart {
  readonly index?: number;
  readonly id?: string;
  readonly function?: { readonly name?: string; readonly arguments?: string };
}

interface MessagePart {
  readonly content?: string | null;
  readonly reasoning_content?: string | null;
  readonly reasoning?: string | null;
  readonly tool_calls?: readonly ToolPart[] | null;
}

interface AnswerBody {
  readonly choices?: readonly {
    readonly message?: MessagePart;
    readonly delta?: MessagePart;
    readonly finish_reason?: string | null;
  }[];
  readonly error?: { readonly message?: string; readonly param?: string | null };
}

/** Asks a gateway as OpenAI's clients do, and keeps an eye on what streams must not do. */
export class ProbeClient {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #timeoutMs: number;

  constructor(o: { url: string; apiKey: string | undefined; timeoutMs: number }) {
    this.#url = o.url.replace(/\/$/, '');
    const key = o.apiKey === undefined ? {} : { authorization: `Bearer ${o.apiKey}` };
    this.#headers = { 'content-type': 'application/json', ...key };
    this.#timeoutMs = o.timeoutMs;
  }

  /** Throws what fetch throws; an AbortError or TimeoutError where there was no answer in time. */
  async ask(body: object, streamed: boolean, signal: AbortSignal): Promise<Observed | Refused> {
    const response = await fetch(`${this.#url}/v1/chat/completions`, {
      method: 'POST',
      headers: this.#headers,
      body: JSON.stringify({ ...body, stream: streamed }),
      signal: AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)]),
    });
    if (!response.ok || response.body === null) return refusal(response.status, await response.text());
    return streamed ? folded(response.body) : whole((await response.json()) as AnswerBody);
  }

  async models(signal: AbortSignal): Promise<string[]> {
    const response = await fetch(`${this.#url}/v1/models`, { headers: this.#headers, signal });
    const { data = [] } = (await response.json()) as { data?: { id: string }[] };
    return data.map(({ id }) => id);
  }
}

function refusal(status: number, text: string): Refused {
  try {
    const { error } = JSON.parse(text) as AnswerBody;
    return { status, field: error?.param ?? '', message: error?.message ?? text };
  } catch {
    return { status, field: '', message: text.slice(0, 200) };
  }
}

function whole(body: AnswerBody): Observed {
  const answer = emptyAnswer();
  const [choice] = body.choices ?? [];
  if (choice?.message === undefined) answer.faults.push('there is no message');
  else addPart(answer, choice.message);
  answer.finish = choice?.finish_reason ?? null;
  return answer;
}

async function folded(body: ReadableStream<Uint8Array>): Promise<Observed> {
  const answer = emptyAnswer();
  let done = false;
  for await (const data of readEvents(body)) {
    if (done) answer.faults.push('something follows [DONE]');
    if (data === '[DONE]') done = true;
    else addChunk(answer, data);
  }
  if (!done) answer.faults.push('there is no [DONE]');
  if (answer.finish === null) answer.faults.push('there is no finish_reason');
  return answer;
}

function addChunk(answer: Observed, data: string): void {
  const chunk = JSON.parse(data) as AnswerBody;
  if (chunk.error !== undefined) answer.faults.push(`an error: ${chunk.error.message}`);
  for (const { delta, finish_reason: finish } of chunk.choices ?? []) {
    if (answer.finish !== null) answer.faults.push('a chunk follows the last one');
    if (delta !== undefined) addPart(answer, delta);
    answer.finish ??= finish ?? null;
  }
}

function addPart(answer: Observed, part: MessagePart): void {
  answer.content += part.content ?? '';
  answer.reasoning += part.reasoning_content ?? part.reasoning ?? '';
  for (const call of part.tool_calls ?? []) addCall(answer, call);
}

function addCall({ calls, faults }: Observed, part: ToolPart): void {
  const { index = calls.length, id = '' } = part;
  const { name = '', arguments: json = '' } = part.function ?? {};
  const known = calls[index];
  if (known !== undefined) {
    if (index !== calls.length - 1) faults.push(`call ${index} goes on after another began`);
    known.arguments += json;
    return;
  }
  if (index !== calls.length) faults.push(`call ${index} comes out of order`);
  if (id === '' || name === '') faults.push(`call ${index} begins without an id or a name`);
  if (calls.some((call) => call.id === id)) faults.push(`two calls have the id ${id}`);
  calls.push({ id, name, arguments: json });
}
