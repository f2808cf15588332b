import { setTimeout as delay } from 'node:timers/promises';

/** Long prompts with short answers between short chats. */
export interface Load {
  readonly seconds: number;
  /** Milliseconds between two arrivals. */
  readonly chatEveryMs: number;
  readonly longEveryMs: number;
  readonly chatTokens: number;
  readonly longTokens: number;
  /** Words of a long prompt. */
  readonly longWords: number;
}

/** When the text of one answer came, in milliseconds since it was asked for. */
export interface Timed {
  readonly kind: 'chat' | 'long';
  readonly firstMs: number;
  /** Between pieces of text. */
  readonly gapsMs: readonly number[];
}

/** Sends requests at their times, however long answers take, and waits for all of them. */
export async function drive(url: string, model: string, load: Load, round: number): Promise<Timed[]> {
  const arrivals: { readonly atMs: number; readonly kind: Timed['kind'] }[] = [];
  for (let atMs = 0; atMs < load.seconds * 1000; atMs += load.chatEveryMs) arrivals.push({ atMs, kind: 'chat' });
  for (let atMs = 500; atMs < load.seconds * 1000; atMs += load.longEveryMs) arrivals.push({ atMs, kind: 'long' });
  const beganMs = performance.now();
  return Promise.all(
    arrivals.map(async ({ atMs, kind }, index) => {
      await delay(Math.max(0, beganMs + atMs - performance.now()));
      const name = `${round}.${index}`;
      const words = kind === 'chat' ? 20 : load.longWords;
      const tokens = kind === 'chat' ? load.chatTokens : load.longTokens;
      return ask(url, { model, content: prompt(name, words), tokens, kind });
    }),
  );
}

/** Its own from the first word on: nothing of it is cached anywhere. */
function prompt(name: string, words: number): string {
  const text = Array.from({ length: words }, (_, index) => `word${(index * 7919) % 997}`).join(' ');
  return `Request ${name}. ${text}`;
}

async function ask(
  url: string,
  o: { readonly model: string; readonly content: string; readonly tokens: number; readonly kind: Timed['kind'] },
): Promise<Timed> {
  const messages = [{ role: 'user', content: o.content }];
  const body = { model: o.model, messages, max_tokens: o.tokens, ignore_eos: true, temperature: 0, stream: true };
  const begunMs = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    // A connection that is used again may be closed at that very moment.
    headers: { 'content-type': 'application/json', connection: 'close' },
    body: JSON.stringify(body),
  });
  if (response.status !== 200 || response.body === null) throw new Error(`status ${response.status}`);
  const atMs: number[] = [];
  let rest = '';
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + part).split('\n\n');
    rest = events.pop() ?? '';
    const now = performance.now();
    for (const event of events) if (/"content":"[^"]/.test(event)) atMs.push(now - begunMs);
  }
  const gapsMs = atMs.slice(1).map((at, index) => at - (atMs[index] ?? at));
  return { kind: o.kind, firstMs: atMs[0] ?? Number.NaN, gapsMs };
}
