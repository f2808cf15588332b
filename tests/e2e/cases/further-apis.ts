import Anthropic from '@anthropic-ai/sdk';
import { expect } from 'chai';
import OpenAI, { toFile } from 'openai';
import { until } from '../../support/until.ts';
import { fresh } from './fresh.ts';
import type { GetStack } from './stack.ts';

const question = 'What is the capital of France?';

/** Every other way to ask for a chat gives the text of the chat, through official clients as they are. */
export function furtherApiCases(stack: GetStack): void {
  let openai: OpenAI;
  let anthropic: Anthropic;
  let model: string;
  let text: string;
  let promptTokens: number;

  before(async () => {
    ({ model } = stack());
    const { url } = stack().cluster;
    openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
    anthropic = new Anthropic({ baseURL: url, apiKey: 'none', maxRetries: 0 });
    await fresh(stack());
    const messages = [{ role: 'user' as const, content: question }];
    const answer = await openai.chat.completions.create({ model, messages, max_tokens: 12, temperature: 0 });
    text = answer.choices[0]?.message.content ?? '';
    promptTokens = answer.usage?.prompt_tokens ?? 0;
    expect(text).to.not.equal('');
  });

  beforeEach(() => fresh(stack()));

  const asked = () => ({
    ...{ model, max_tokens: 12, temperature: 0 },
    messages: [{ role: 'user' as const, content: question }],
  });

  it('messages', async () => {
    const message = await anthropic.messages.create(asked());
    expect(message.content.map((block) => (block.type === 'text' ? block.text : '')).join('')).to.equal(text);
    const { input_tokens: fresh, cache_read_input_tokens: cached } = message.usage;
    expect(fresh + (cached ?? 0)).to.equal(promptTokens);
    const { messages } = asked();
    expect((await anthropic.messages.countTokens({ model, messages })).input_tokens).to.equal(promptTokens);
  });

  it('streamed messages', async () => {
    const stream = anthropic.messages.stream(asked());
    expect(await stream.finalText()).to.equal(text);
  });

  it('responses, whole, streamed and in the background', async () => {
    const request = { model, input: question, max_output_tokens: 12, temperature: 0 };
    const whole = await openai.responses.create(request);
    expect(whole.output_text).to.equal(text);
    await fresh(stack());
    let streamed = '';
    for await (const event of await openai.responses.create({ ...request, stream: true }))
      if (event.type === 'response.output_text.delta') streamed += event.delta;
    expect(streamed).to.equal(text);
    await fresh(stack());
    const begun = await openai.responses.create({ ...request, background: true });
    await until('the response has ended', async () => {
      return !['queued', 'in_progress'].includes((await openai.responses.retrieve(begun.id)).status ?? '');
    });
    expect((await openai.responses.retrieve(begun.id)).output_text).to.equal(text);
  });

  it('a response that goes on', async () => {
    const first = await openai.responses.create({ model, input: question, max_output_tokens: 12, temperature: 0 });
    const next = await openai.responses.create({
      ...{ model, input: 'And of Italy?', max_output_tokens: 4 },
      previous_response_id: first.id,
    });
    expect(next.usage?.input_tokens).to.be.greaterThan(promptTokens);
    expect(next.output_text).to.not.equal('');
  });

  it('a batch', async () => {
    const body = { model, messages: [{ role: 'user', content: question }], max_tokens: 12, temperature: 0 };
    const line = JSON.stringify({ custom_id: 'only', method: 'POST', url: '/v1/chat/completions', body });
    const file = await openai.files.create({ file: await toFile(Buffer.from(line), 'in.jsonl'), purpose: 'batch' });
    const endpoint = '/v1/chat/completions' as const;
    const batch = await openai.batches.create({ input_file_id: file.id, endpoint, completion_window: '24h' });
    await until('the batch has ended', async () => (await openai.batches.retrieve(batch.id)).status === 'completed');
    const { output_file_id: output } = await openai.batches.retrieve(batch.id);
    const result = JSON.parse(await (await openai.files.content(output ?? '')).text()) as {
      response: { body: OpenAI.ChatCompletion };
    };
    expect(result.response.body.choices[0]?.message.content).to.equal(text);
  });

  it('token ids, and back', async () => {
    const post = async (path: string, body: object): Promise<Record<string, unknown>> => {
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
      return (await (await fetch(`${stack().cluster.url}${path}`, init)).json()) as Record<string, unknown>;
    };
    const { tokens, count } = await post('/tokenize', { model, prompt: question, add_special_tokens: false });
    expect(tokens).to.have.length(Number(count));
    expect(await post('/detokenize', { model, tokens })).to.deep.equal({ prompt: question });
    expect((await post('/tokenize', { model, messages: asked().messages }))['count']).to.equal(promptTokens);
  });
}
