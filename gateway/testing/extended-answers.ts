import { expect } from 'chai';
import { answerNvext } from '../api/schemas/answer-nvext.ts';
import type { Harness } from './harness.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };

/** An answer or chunk, as far as its extension goes. */
export interface Body {
  readonly choices: { readonly index: number; readonly finish_reason: string | null }[];
  readonly usage?: Record<string, unknown> | null;
  readonly nvext?: Readonly<Record<string, unknown>>;
}

export interface SentEvent {
  /** Empty: a chunk. */
  readonly name: string;
  readonly data: string;
}

export async function eventsOf(response: Response): Promise<SentEvent[]> {
  expect(response.headers.get('content-type')).to.equal('text/event-stream; charset=utf-8');
  const events = (await response.text()).split('\n\n').filter((event) => event !== '');
  return events.map((event) => {
    const [, name = '', data = ''] = /^(?:event: (.*)\n)?data: (.*)$/.exec(event) ?? [];
    return { name, data };
  });
}

export function chunksOf(events: readonly SentEvent[]): Body[] {
  const chunks = events.filter(({ name, data }) => name === '' && data !== '[DONE]');
  return chunks.map(({ data }) => checked(JSON.parse(data) as Body));
}

export async function ask(gateway: Harness, nvext: object, more: object = {}): Promise<Body> {
  const response = await gateway.post('/v1/chat/completions', { ...chat, ...more, nvext });
  expect(response.status).to.equal(200);
  return checked((await response.json()) as Body);
}

/** The body, whose extension must be what the documentation says. */
function checked(body: Body): Body {
  answerNvext.optional().parse(body.nvext);
  return body;
}

export async function stream(gateway: Harness, nvext: object, more: object = {}): Promise<SentEvent[]> {
  return eventsOf(await gateway.post('/v1/chat/completions', { ...chat, ...more, stream: true, nvext }));
}
