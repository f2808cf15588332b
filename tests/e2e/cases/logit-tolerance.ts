import { expect } from 'chai';
import { post } from '../../support/http.ts';
import type { Position } from '../../support/sse.ts';
import { fresh } from './fresh.ts';
import type { Stack } from './stack.ts';

/**
 * How far a log-probability may move because other sequences share the batch and the cache. llama.cpp adds in another order
 * then; up to 0.24 was seen with the default model and KV in half precision.
 */
export const LOGPROB_TOLERANCE = 0.5;

const MAX_TOKENS = 24;
const TOP = 5;

/** Answers one at a time from an empty cache, then all at once, must agree within the tolerance; where they part, it must have been a near tie. */
export async function expectLogitsWithinTolerance(stack: Stack, questions: readonly string[]): Promise<void> {
  const alone: (readonly Position[])[] = [];
  for (const question of questions) {
    await fresh(stack);
    alone.push(await positions(stack, question));
  }
  await fresh(stack);
  const together = await Promise.all(questions.map((question) => positions(stack, question)));
  for (const [index, single] of alone.entries()) comparePositions(single, together[index] ?? []);
}

/** Fails where two answers to one prompt differ by more than the order of additions explains. */
export function comparePositions(single: readonly Position[], batched: readonly Position[]): void {
  expect(single.length).to.be.greaterThan(0);
  for (const [at, expected] of single.entries()) {
    const actual = batched[at];
    if (actual === undefined) throw new Error(`the batched answer ended before position ${at}`);
    if (actual.token === expected.token) {
      expect(Math.abs(actual.logprob - expected.logprob), `position ${at}`).to.be.at.most(LOGPROB_TOLERANCE);
      continue;
    }
    const rival = expected.top_logprobs.find(({ token }) => token === actual.token);
    expect(expected.logprob - (rival?.logprob ?? -Infinity), `tie at ${at}`).to.be.at.most(LOGPROB_TOLERANCE);
    return;
  }
}

async function positions({ cluster, model }: Stack, question: string): Promise<readonly Position[]> {
  const messages = [{ role: 'user', content: question }];
  const body = {
    model,
    messages,
    max_tokens: MAX_TOKENS,
    temperature: 0,
    logprobs: true,
    top_logprobs: TOP,
    ignore_eos: true,
  };
  const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
  expect(answer.status, answer.text).to.equal(200);
  const parsed = JSON.parse(answer.text) as { choices: [{ logprobs: { content: Position[] } }] };
  return parsed.choices[0].logprobs.content;
}
