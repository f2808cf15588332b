import { expect } from 'chai';
import { type Harness, startHarness, testCard } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';

interface ErrorBody {
  readonly error: { message: string; type: string; param: string | null; code: string };
}

const user = { role: 'user', content: 'Hi' };
const chat = { model: 'test-model', messages: [user] };
const completion = { model: 'test-model', prompt: 'Hi' };

/** What is changed in a good request, and the field that must be named. */
type Case = readonly [change: Record<string, unknown>, param: string];

const badChats: readonly Case[] = [
  [{ model: undefined }, 'model'],
  [{ model: 5 }, 'model'],
  [{ model: '' }, 'model'],
  [{ messages: undefined }, 'messages'],
  [{ messages: [] }, 'messages'],
  [{ messages: 'hello' }, 'messages'],
  [{ messages: [{ content: 'x' }] }, 'messages[0].role'],
  [{ messages: [{ role: 'wizard', content: 'x' }] }, 'messages[0].role'],
  [{ messages: [user, { role: 'user' }] }, 'messages[1].content'],
  [{ messages: [{ role: 'user', content: 5 }] }, 'messages[0].content'],
  [{ messages: [{ role: 'user', content: [] }] }, 'messages[0].content'],
  [{ messages: [{ role: 'user', content: [{ type: 'text' }] }] }, 'messages[0].content[0].text'],
  [{ messages: [{ role: 'user', content: [{ type: 'smell', text: 'x' }] }] }, 'messages[0].content[0].type'],
  [
    { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://x/y.png' } }] }] },
    'messages[0].content[0]',
  ],
  [{ messages: [{ role: 'user', content: 'x', mood: 'good' }] }, 'messages[0].mood'],
  [{ messages: [{ role: 'tool', content: 'x' }] }, 'messages[0].tool_call_id'],
  [
    {
      messages: [
        { role: 'assistant', tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '[]' } }] },
      ],
    },
    'messages[0].tool_calls[0].function.arguments',
  ],
  [{ temperature: -0.1 }, 'temperature'],
  [{ temperature: 2.1 }, 'temperature'],
  [{ temperature: 'hot' }, 'temperature'],
  [{ top_p: 1.1 }, 'top_p'],
  [{ top_p: -1 }, 'top_p'],
  [{ min_p: 2 }, 'min_p'],
  [{ top_k: -2 }, 'top_k'],
  [{ top_k: 1.5 }, 'top_k'],
  [{ frequency_penalty: 3 }, 'frequency_penalty'],
  [{ presence_penalty: -3 }, 'presence_penalty'],
  [{ repetition_penalty: 0 }, 'repetition_penalty'],
  [{ logit_bias: { 5: 101 } }, 'logit_bias.5'],
  [{ logit_bias: { five: 1 } }, 'logit_bias.five'],
  [{ logit_bias: { 999: 1 } }, 'logit_bias.999'],
  [{ seed: 1.5 }, 'seed'],
  [{ seed: 1e300 }, 'seed'],
  [{ n: 0 }, 'n'],
  [{ n: 129 }, 'n'],
  [{ n: 2, temperature: 0 }, 'n'],
  [{ max_tokens: 0 }, 'max_tokens'],
  [{ max_tokens: 2_000_000 }, 'max_tokens'],
  [{ max_completion_tokens: -1 }, 'max_completion_tokens'],
  [{ min_tokens: 9, max_tokens: 5 }, 'min_tokens'],
  [{ stop: '' }, 'stop'],
  [{ stop: [''] }, 'stop[0]'],
  [{ stop: Array(33).fill('x') }, 'stop'],
  [{ stop: { a: 1 } }, 'stop'],
  [{ stop_token_ids: Array(33).fill(1) }, 'stop_token_ids'],
  [{ stop_token_ids: [400] }, 'stop_token_ids[0]'],
  [{ stream_options: { include_usage: true } }, 'stream_options'],
  [{ stream: true, stream_options: { loud: true } }, 'stream_options.loud'],
  [{ stream: 'yes' }, 'stream'],
  [{ top_logprobs: 3 }, 'top_logprobs'],
  [{ logprobs: true, top_logprobs: 21 }, 'top_logprobs'],
  [{ logprobs: 3 }, 'logprobs'],
  [{ prompt_logprobs: 1 }, 'prompt_logprobs'],
  [{ response_format: { type: 'json_object' } }, 'response_format'],
  [{ response_format: { type: 'json_schema', json_schema: { name: 'x', schema: {} } } }, 'response_format'],
  [{ response_format: { type: 'yaml' } }, 'response_format.type'],
  [{ guided_json: { type: 'object' } }, 'guided_json'],
  [{ guided_regex: 'a+' }, 'guided_regex'],
  [{ guided_grammar: 'root ::= "a"' }, 'guided_grammar'],
  [{ guided_choice: ['a'] }, 'guided_choice'],
  [{ guided_choice: [] }, 'guided_choice'],
  [{ guided_regex: 'a', guided_grammar: 'b' }, 'guided_grammar'],
  [{ tools: [{ type: 'function', function: { name: 'f' } }] }, 'tools'],
  [{ tools: [{ type: 'function', function: {} }] }, 'tools[0].function.name'],
  [{ tool_choice: 'required' }, 'tool_choice'],
  [{ tool_choice: { type: 'function', function: { name: 'f' } } }, 'tool_choice'],
  [{ continue_final_message: true, add_generation_prompt: true }, 'continue_final_message'],
  [{ reasoning_effort: 'extreme' }, 'reasoning_effort'],
  [{ modalities: ['audio'] }, 'modalities[0]'],
  [{ service_tier: 'priority' }, 'service_tier'],
  [{ store: true }, 'store'],
  [{ audio: { voice: 'x' } }, 'audio'],
  [{ prediction: { type: 'content' } }, 'prediction'],
  [{ web_search_options: {} }, 'web_search_options'],
  [{ allowed_token_ids: [1] }, 'allowed_token_ids'],
  [{ nvext: { unheard_of: 1 } }, 'nvext.unheard_of'],
  [{ nvext: { backend_instance_id: 'abc' } }, 'nvext.backend_instance_id'],
  [{ nvext: { token_data: [500] } }, 'nvext.token_data[0]'],
  [{ frobnicate: 1 }, 'frobnicate'],
  [{ __proto__x: 1 }, '__proto__x'],
];

const badCompletions: readonly Case[] = [
  [{ prompt: undefined }, 'prompt'],
  [{ prompt: 7 }, 'prompt'],
  [{ prompt: [] }, 'prompt'],
  [{ prompt: ['a', 1] }, 'prompt[1]'],
  [{ prompt: [1, 999] }, 'prompt[1]'],
  [{ prompt: [[1], [999]] }, 'prompt[1][0]'],
  [{ prompt: Array(100).fill('x'), n: 2 }, 'n'],
  [{ logprobs: 6 }, 'logprobs'],
  [{ best_of: 1, n: 2 }, 'best_of'],
  [{ best_of: 3 }, 'best_of'],
  [{ echo: true, logprobs: 1 }, 'echo'],
  [{ suffix: 'end' }, 'suffix'],
  [{ messages: [user] }, 'messages'],
];

describe('request validation', () => {
  let gateway: Harness;

  before(async () => {
    gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')), testCard());
  });

  after(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  async function expectRefused(path: string, base: object, [change, param]: Case): Promise<void> {
    const response = await gateway.post(path, { ...base, ...change });
    const { error } = (await response.json()) as ErrorBody;
    expect(response.status, error.message).to.be.within(400, 499);
    expect(error.param, error.message).to.equal(param);
    expect(error.message).to.include(`\`${param}\``.slice(0, 60));
    expect(error.type).to.equal('invalid_request_error');
  }

  for (const bad of badChats) {
    it(`refuses the chat ${JSON.stringify(bad[0]).slice(0, 90)} naming ${bad[1]}`, () =>
      expectRefused('/v1/chat/completions', chat, bad));
  }

  for (const bad of badCompletions) {
    it(`refuses the completion ${JSON.stringify(bad[0]).slice(0, 90)} naming ${bad[1]}`, () =>
      expectRefused('/v1/completions', completion, bad));
  }

  it('names the bound of a list that is too long, not the other kinds that it might have been', async () => {
    const response = await gateway.post('/v1/embeddings', { model: 'test-model', input: Array(2049).fill('a') });
    const { error } = (await response.json()) as ErrorBody;
    expect(error.param).to.equal('input');
    expect(error.message).to.contain('2048');
  });

  it('names every unknown field', async () => {
    const response = await gateway.post('/v1/chat/completions', { ...chat, foo: 1, bar: 2 });
    const { error } = (await response.json()) as ErrorBody;
    expect(error.message).to.equal('Unsupported parameter(s): `foo`, `bar`');
  });

  it('answers 501 for functions before tools', async () => {
    const response = await gateway.post('/v1/chat/completions', { ...chat, functions: [] });
    expect(response.status).to.equal(501);
  });

  it('accepts null for everything optional', async () => {
    const nulls = {
      temperature: null,
      top_p: null,
      n: null,
      stop: null,
      tools: null,
      logprobs: null,
      audio: null,
      user: null,
    };
    const response = await gateway.post('/v1/chat/completions', { ...chat, ...nulls });
    expect(response.status, await response.text()).to.equal(200);
  });

  it('honours every sampling field', async () => {
    const worker = new ScriptedWorker(answering('ok'));
    await using own = await startHarness();
    own.addWorker(1n, worker);
    const sampling = { temperature: 0.5, top_p: 0.25, top_k: 7, min_p: 0.125, seed: -1, logit_bias: { 5: -3 } };
    const penalties = { frequency_penalty: 0.5, presence_penalty: -0.5, repetition_penalty: 1.5 };
    const stops = { min_tokens: 2, max_tokens: 9, stop: ['x', 7], stop_token_ids: [8], ignore_eos: true };
    const response = await own.post('/v1/chat/completions', { ...chat, ...sampling, ...penalties, ...stops });
    expect(response.status, await response.text()).to.equal(200);
    const { request } = await worker.sequence(0);
    expect(request.sampling).to.deep.include({
      temperature: 0.5,
      topP: 0.25,
      topK: 7,
      minP: 0.125,
      seed: 0xffff_ffff_ffff_ffffn,
      frequencyPenalty: 0.5,
      presencePenalty: -0.5,
      repetitionPenalty: 1.5,
      logitBias: { 5: -3 },
    });
    expect(request.stop).to.deep.include({ maxTokens: 9, minTokens: 2, stopTokenIds: [7, 8], ignoreEos: true });
  });

  it('refuses sampling that the card does not promise', async () => {
    await using own = await startHarness();
    const card = testCard();
    const capabilities = card.capabilities && { ...card.capabilities, samplingFields: [], maxTopLogprobs: 0 };
    own.addWorker(1n, new ScriptedWorker(answering('ok')), { ...card, capabilities });
    const post = async (change: object): Promise<ErrorBody['error'] | null> => {
      const response = await own.post('/v1/chat/completions', { ...chat, ...change });
      return response.status === 200 ? null : ((await response.json()) as ErrorBody).error;
    };
    expect((await post({ top_k: 5 }))?.param).to.equal('top_k');
    expect((await post({ seed: 1 }))?.param).to.equal('seed');
    expect((await post({ logit_bias: { 1: 1 } }))?.param).to.equal('logit_bias');
    expect((await post({ logprobs: true }))?.param).to.equal('logprobs');
    // Neutral values ask for nothing.
    expect(await post({ temperature: 1, top_p: 1, top_k: -1, min_p: 0, repetition_penalty: 1 })).to.equal(null);
  });

  it('says which context length is exceeded, with numbers', async () => {
    const response = await gateway.post('/v1/completions', {
      ...completion,
      prompt: 'x'.repeat(4000),
      max_tokens: 200,
    });
    const { error } = (await response.json()) as ErrorBody & { error: { details: object } };
    expect(response.status).to.equal(400);
    expect(error).to.include({ code: 'context_length_exceeded', param: 'prompt' });
    expect(error.message).to.match(/4096.*4000.*200/);
    expect(error.details).to.deep.equal({ limit: 4096, actual: 4200 });
  });

  it('offers the nearest names of an unknown model', async () => {
    const response = await gateway.post('/v1/chat/completions', { ...chat, model: 'tset-model' });
    const { error } = (await response.json()) as ErrorBody;
    expect(response.status).to.equal(404);
    expect(error.code).to.equal('model_not_found');
    expect(error.message).to.include('Did you mean `test-model`');
  });
});
