import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { ClassifyResponseSchema, ScoreResponseSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { CapabilitiesSchema, Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ErrorBody } from '../testing/answers.ts';
import { decodeBytes } from '../testing/byte-tokenizer.ts';
import { type Harness, startHarness, testCard } from '../testing/harness.ts';
import { ScriptedWorker } from '../testing/scripted-worker.ts';

const tasks = [Task.SCORE, Task.CLASSIFY];
const scorer = testCard({ capabilities: create(CapabilitiesSchema, { tasks }) });

/** A worker that finds a document the better the longer it is, and refuses what is longer than 20 bytes. */
function lengthScorer(): ScriptedWorker {
  const worker = new ScriptedWorker();
  worker.calls = {
    async score({ query, documents = [] }) {
      const lengths = documents.map(({ tokenIds = [] }) => tokenIds.length);
      const long = lengths.findIndex((length) => length > 20);
      if (long >= 0) throw StatorError.invalid(`documents[${long}].token_ids`, 'too long');
      const promptTokens = lengths.reduce((sum, length) => sum + length, query?.tokenIds?.length ?? 0);
      return create(ScoreResponseSchema, { scores: lengths, promptTokens });
    },
    async classify({ inputs = [] }) {
      const classifications = inputs.map(({ tokenIds = [] }) => ({
        label: decodeBytes(tokenIds),
        probabilities: [0.25, 0.75],
      }));
      return create(ClassifyResponseSchema, { classifications, promptTokens: 1 });
    },
  };
  return worker;
}

describe('scores, ranks and classes', () => {
  let gateway: Harness;

  before(async () => {
    gateway = await startHarness();
    gateway.addWorker(1n, lengthScorer(), scorer);
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

  async function refused(path: string, body: object): Promise<string | null> {
    return ((await ask(path, body, 400)) as ErrorBody).error.param;
  }

  it('scores one text against many', async () => {
    const answer = await ask('/v1/score', { text_1: 'query', text_2: ['abc', 'a'] });
    expect(answer).to.deep.include({
      object: 'list',
      model: 'test-model',
      data: [
        { index: 0, object: 'score', score: 3 },
        { index: 1, object: 'score', score: 1 },
      ],
      usage: { prompt_tokens: 9, total_tokens: 9 },
    });
  });

  it('scores pairs in their order', async () => {
    const text = Array.from({ length: 11 }, (_, index) => 'x'.repeat(index + 1));
    const answer = (await ask('/score', { text_1: text, text_2: text })) as { data: { score: number }[] };
    expect(answer.data.map(({ score }) => score)).to.deep.equal(text.map(({ length }) => length));
  });

  it('ranks documents, the best first and as many as wanted', async () => {
    const documents = ['bb', { text: 'dddd' }, 'a', 'ccc'];
    const body = { query: 'q', documents, top_n: 2 };
    const answer = (await ask('/v1/rerank', body)) as { results: unknown[]; usage: unknown };
    expect(answer.results).to.deep.equal([
      { index: 1, document: { text: 'dddd' }, relevance_score: 4 },
      { index: 3, document: { text: 'ccc' }, relevance_score: 3 },
    ]);
    expect(answer.usage).to.deep.equal({ total_tokens: 11 });
    const bare = (await ask('/v2/rerank', { query: 'q', documents, return_documents: false })) as typeof answer;
    expect(bare.results).to.have.length(4);
    expect(bare.results[0]).to.deep.equal({ index: 1, relevance_score: 4 });
  });

  it('classifies texts and token ids', async () => {
    const answer = (await ask('/v1/classify', { input: ['good', 'bad'] })) as { data: unknown[] };
    expect(answer.data).to.deep.equal([
      { index: 0, label: 'good', probs: [0.25, 0.75], num_classes: 2 },
      { index: 1, label: 'bad', probs: [0.25, 0.75], num_classes: 2 },
    ]);
    const cut = await ask('/classify', { input: 'good', truncate_prompt_tokens: 2 });
    expect(cut).to.have.nested.property('data[0].label', 'go');
  });

  it('refuses by the name of the field', async () => {
    expect(await refused('/v1/score', { text_1: ['a', 'b'], text_2: ['c'] })).to.equal('text_2');
    expect(await refused('/v1/score', { text_1: 'a' })).to.equal('text_2');
    expect(await refused('/v1/score', { text_1: 'a', text_2: ['b', 'x'.repeat(30)] })).to.equal('text_2[1]');
    expect(await refused('/v1/rerank', { query: 'q', documents: [] })).to.equal('documents');
    expect(await refused('/v1/rerank', { query: 'q', documents: ['x'.repeat(30)] })).to.equal('documents[0]');
    expect(await refused('/v1/rerank', { query: 'q', documents: ['a'], top_k: 1 })).to.equal('top_k');
    expect(await refused('/v1/classify', { input: [[999]] })).to.equal('input[0]');
  });

  it('refuses models that cannot', async () => {
    await using other = await startHarness();
    other.addWorker(1n, new ScriptedWorker());
    for (const [path, body] of [
      ['/v1/score', { text_1: 'a', text_2: 'b' }],
      ['/v1/rerank', { query: 'a', documents: ['b'] }],
      ['/v1/classify', { input: 'a' }],
    ] as const) {
      const response = await other.post(path, { model: 'test-model', ...body });
      expect(response.status).to.equal(400);
      expect(((await response.json()) as ErrorBody).error).to.include({ param: 'model', code: 'unsupported' });
    }
  });

  it("end at the client's deadline, in the worker too", async () => {
    await using slow = await startHarness();
    const never = (_request: unknown, options?: { signal?: AbortSignal | undefined }): Promise<never> =>
      new Promise((_resolve, reject) => {
        options?.signal?.addEventListener('abort', () => reject(new Error('ended')));
      });
    const worker = new ScriptedWorker();
    worker.calls = { score: never, classify: never };
    slow.addWorker(1n, worker, scorer);
    const headers = { 'content-type': 'application/json', 'x-stator-timeout-ms': '300' };
    const pair = { model: 'test-model', text_1: 'a', text_2: 'b' };
    const scored = await slow.post('/v1/score', pair, { headers });
    const classified = await slow.post('/v1/classify', { model: 'test-model', input: 'a' }, { headers });
    for (const response of [scored, classified]) {
      expect(response.status).to.equal(504);
      expect(((await response.json()) as ErrorBody).error.code).to.equal('deadline_exceeded');
    }
  });
});
