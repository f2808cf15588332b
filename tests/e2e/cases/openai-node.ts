import { expect } from 'chai';
import OpenAI, { APIUserAbortError, BadRequestError, NotFoundError } from 'openai';
import { sumOf } from '../../support/metrics-text.ts';
import { scrape } from '../../support/scrape.ts';
import { until } from '../../support/until.ts';
import { fresh } from './fresh.ts';
import type { GetStack } from './stack.ts';

const messages = [{ role: 'user', content: 'What is the capital of France?' }] as const;

/** The official `openai` package for Node, as it is. */
export function openaiNodeCases(stack: GetStack): void {
  let client: OpenAI;
  let common: { model: string; messages: [(typeof messages)[0]]; max_tokens: number; temperature: number };

  before(() => {
    client = new OpenAI({ baseURL: `${stack().cluster.url}/v1`, apiKey: 'none', maxRetries: 0 });
    common = { model: stack().model, messages: [...messages], max_tokens: 12, temperature: 0 };
  });

  it('chats', async () => {
    const answer = await client.chat.completions.create(common);
    expect(answer.object).to.equal('chat.completion');
    expect(answer.model).to.equal(stack().model);
    expect(answer.choices).to.have.length(1);
    expect(answer.choices[0]?.message.content).to.be.a('string').that.is.not.empty;
    expect(answer.usage?.completion_tokens).to.be.within(1, 12);
    expect(answer.usage?.total_tokens).to.equal(
      (answer.usage?.prompt_tokens ?? 0) + (answer.usage?.completion_tokens ?? 0),
    );
  });

  it('streams the same text as it answers at once', async () => {
    await fresh(stack());
    const whole = await client.chat.completions.create(common);
    await fresh(stack());
    const stream = await client.chat.completions.create({
      ...common,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    const finish: string[] = [];
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      if (chunk.choices[0]?.finish_reason) finish.push(chunk.choices[0].finish_reason);
      usage = chunk.usage ?? usage;
    }
    expect(text).to.equal(whole.choices[0]?.message.content);
    expect(finish).to.deep.equal([whole.choices[0]?.finish_reason]);
    expect(usage?.completion_tokens).to.equal(whole.usage?.completion_tokens);
  });

  it('completes, with several choices', async () => {
    const request = {
      model: stack().model,
      prompt: 'Once upon a time',
      max_tokens: 6,
      temperature: 0.8,
      seed: 1,
      n: 3,
    };
    const answer = await client.completions.create(request);
    expect(answer.choices.map(({ index }) => index)).to.deep.equal([0, 1, 2]);
    for (const { text } of answer.choices) expect(text).to.be.a('string').that.is.not.empty;
    expect(answer.usage?.completion_tokens).to.be.within(3, 18);
  });

  it('stops at a stop string and leaves it out', async () => {
    await fresh(stack());
    const whole = await client.chat.completions.create({ ...common, max_tokens: 24 });
    const text = whole.choices[0]?.message.content ?? '';
    const stop = text.slice(4, 8);
    expect(stop).to.have.length(4);
    await fresh(stack());
    const cut = await client.chat.completions.create({ ...common, max_tokens: 24, stop });
    expect(cut.choices[0]?.message.content).to.equal(text.slice(0, text.indexOf(stop)));
    expect(cut.choices[0]?.finish_reason).to.equal('stop');
  });

  it('gives log-probabilities that belong to its text', async () => {
    const answer = await client.chat.completions.create({ ...common, logprobs: true, top_logprobs: 2 });
    const content = answer.choices[0]?.logprobs?.content ?? [];
    expect(content).to.have.length.within(1, 12);
    for (const entry of content) {
      expect(entry.logprob).to.be.at.most(0);
      expect(entry.top_logprobs).to.have.length(2);
    }
    const bytes = content.flatMap((entry) => entry.bytes ?? []);
    expect(Buffer.from(bytes).toString()).to.contain(answer.choices[0]?.message.content ?? '-');
  });

  it('repeats a sampled answer for the same seed', async () => {
    const sampled = { ...common, temperature: 1.2, seed: 7, max_tokens: 16 };
    await fresh(stack());
    const first = await client.chat.completions.create(sampled);
    await fresh(stack());
    const second = await client.chat.completions.create(sampled);
    expect(first.choices[0]?.message.content).to.equal(second.choices[0]?.message.content);
  });

  it('lists and retrieves models', async () => {
    const ids: string[] = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    expect(ids).to.include(stack().model);
    expect((await client.models.retrieve(stack().model)).id).to.equal(stack().model);
  });

  it('raises typed errors', async () => {
    const unknown = await rejection(client.chat.completions.create({ ...common, model: 'no-such-model' }));
    expect(unknown).to.be.instanceOf(NotFoundError);
    const bad = await rejection(client.chat.completions.create({ ...common, temperature: 99 }));
    expect(bad).to.be.instanceOf(BadRequestError);
    expect(bad).to.have.property('param', 'temperature');
    expect(await rejection(client.models.retrieve('no-such-model'))).to.be.instanceOf(NotFoundError);
  });

  it('an abort ends the request in the engine', async () => {
    const controller = new AbortController();
    const long = { ...common, max_tokens: 2000, stream: true, ignore_eos: true } as const;
    const stream = await client.chat.completions.create(long, { signal: controller.signal });
    try {
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) controller.abort();
    } catch (error) {
      expect(error).to.be.instanceOf(APIUserAbortError);
    }
    expect(controller.signal.aborted).to.equal(true);
    await until('no sequence runs in the worker', async () => {
      const samples = await scrape(stack().worker);
      return sumOf(samples, 'stator_worker_running_sequences') === 0;
    });
  });
}

function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}
