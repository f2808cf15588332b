import type { Asked } from './requests.ts';
import { type Shape, shapeOf } from './shape.ts';

/** What a server answered, without the content: status, kind, and which fields of which types. */
export interface Answered {
  /** 0: it did not answer in time. */
  readonly status: number;
  /** Media type without parameters; empty: none. */
  readonly media: string;
  readonly shape: Shape;
  /** Of a stream: names of events in the order of their first appearance, and how it ends. */
  readonly events?: readonly string[];
  /** Whether the stream ends with `[DONE]`. */
  readonly done?: boolean;
  /** Of a refusal: what clients switch on. */
  readonly error?: { readonly type: unknown; readonly code: unknown; readonly param: unknown };
}

/** Some servers generate without end what others refuse. */
const TIMEOUT_MS = 90_000;

/** Asks a server; `model` is what it calls its model. */
export async function ask(url: string, model: string, request: Asked): Promise<Answered> {
  const { method = 'POST', path, body, raw, headers } = request;
  const text =
    raw ?? (body === undefined ? undefined : JSON.stringify(body).replaceAll('"MODEL"', JSON.stringify(model)));
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const response = await fetch(`${url}${path.replace('MODEL', encodeURIComponent(model))}`, {
    method,
    headers: { ...(text === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(text === undefined ? {} : { body: text }),
    signal,
  }).catch((error: unknown) => {
    if (signal.aborted) return null;
    throw error;
  });
  if (response === null) return { status: 0, media: '', shape: {} };
  const answer = await response.text();
  const media = (response.headers.get('content-type') ?? '').split(';')[0]?.trim() ?? '';
  const head = { status: response.status, media };
  if (media === 'text/event-stream') return { ...head, ...readStream(answer) };
  const value = parsed(answer);
  const error = response.status < 400 ? undefined : errorOf(value);
  return { ...head, shape: shapeOf([value]), ...(error === undefined ? {} : { error }) };
}

function readStream(text: string): Pick<Answered, 'shape' | 'events' | 'done'> {
  const values: unknown[] = [];
  const events: string[] = [];
  let done = false;
  for (const block of text.split(/\r?\n\r?\n/)) {
    const lines = block.split(/\r?\n/);
    const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trim());
    if (data.length === 0) continue;
    if (data[0] === '[DONE]') {
      done = true;
      continue;
    }
    const name =
      lines
        .find((line) => line.startsWith('event:'))
        ?.slice(6)
        .trim() ?? '';
    if (!events.includes(name)) events.push(name);
    const value = parsed(data.join('\n'));
    values.push(name === '' ? value : { [name]: value });
  }
  return { shape: shapeOf(values), events, done };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function errorOf(value: unknown): Answered['error'] {
  const { error } = (value ?? {}) as { error?: unknown };
  if (typeof error !== 'object' || error === null) return undefined;
  const { type = null, code = null, param = null } = error as Record<string, unknown>;
  return { type, code, param };
}
