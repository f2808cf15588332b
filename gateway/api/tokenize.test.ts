import { expect } from 'chai';
import type { ErrorBody } from '../testing/answers.ts';
import { encodeBytes } from '../testing/byte-tokenizer.ts';
import { type Harness, startHarness } from '../testing/harness.ts';
import { ScriptedWorker } from '../testing/scripted-worker.ts';

describe('tokenize and detokenize', () => {
  let gateway: Harness;

  before(async () => {
    gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker());
  });

  after(async () => {
    await gateway[Symbol.asyncDispose]();
  });

  async function ask(path: string, body: object, status = 200): Promise<unknown> {
    const response = await gateway.post(path, { model: 'test-model', ...body });
    const answer: unknown = await response.json();
    expect(response.status, JSON.stringify(answer)).to.equal(status);
    return answer;
  }

  it('turns text into token ids and back', async () => {
    const text = 'Grüße';
    const answer = await ask('/tokenize', { prompt: text, return_token_strs: true });
    const tokens = encodeBytes(text);
    expect(answer).to.deep.include({ count: 7, max_model_len: 4096, tokens });
    expect(answer).to.have.nested.property('token_strs[0]', 'G');
    expect(await ask('/v1/detokenize', { tokens })).to.deep.equal({ prompt: text });
    expect(await ask('/detokenize', { tokens: [] })).to.deep.equal({ prompt: '' });
  });

  it('renders conversations by the template', async () => {
    const answer = await ask('/v1/tokenize', { messages: [{ role: 'user', content: 'Hi' }] });
    expect(answer).to.deep.equal({
      count: 8,
      max_model_len: 4096,
      tokens: encodeBytes('<user>Hi'),
      token_strs: null,
    });
  });

  it('refuses what contradicts itself, by the name of the field', async () => {
    const messages = [{ role: 'user', content: 'Hi' }];
    for (const [path, body, field] of [
      ['/tokenize', {}, 'prompt'],
      ['/tokenize', { prompt: 'a', messages }, 'prompt'],
      ['/tokenize', { prompt: 'a', add_generation_prompt: false }, 'add_generation_prompt'],
      ['/tokenize', { messages, add_special_tokens: true }, 'add_special_tokens'],
      ['/tokenize', { messages, continue_final_message: true, add_generation_prompt: true }, 'continue_final_message'],
      ['/detokenize', { tokens: [1, 259] }, 'tokens[1]'],
      ['/detokenize', { tokens: ['a'] }, 'tokens[0]'],
    ] as const) {
      const { error } = (await ask(path, body, 400)) as ErrorBody;
      expect(error.param, JSON.stringify(body)).to.equal(field);
    }
    const { error } = (await ask('/tokenize', { model: 'none', prompt: 'a' }, 404)) as ErrorBody;
    expect(error.code).to.equal('model_not_found');
  });
});

describe('media endpoints', () => {
  it('say that no worker serves them', async () => {
    await using gateway = await startHarness();
    for (const path of ['/v1/images/generations', '/v1/audio/speech', '/v1/videos', '/v1/audio/transcriptions']) {
      const response = await gateway.post(path, { model: 'test-model', prompt: 'a cat' });
      expect(response.status).to.equal(501);
      const { error } = (await response.json()) as ErrorBody;
      expect(error).to.include({ code: 'unimplemented', type: 'not_implemented_error' });
      expect(error.message).to.contain(path);
    }
  });
});
