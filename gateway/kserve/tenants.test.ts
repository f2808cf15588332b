import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { ModelInferRequest, ModelStreamInferResponse } from '#gen/inference/kserve_pb.ts';
import { asking, outputOf, refusal, type TensorWorld, tensorWorld } from '../testing/tensors.ts';
import { until } from '../testing/until.ts';

const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const withKey = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });

describe('KServe for callers with keys', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'stator-kserve-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function withKeys(...keys: readonly object[]): Promise<TensorWorld> {
    const apiKeysFile = join(directory, 'keys.yaml');
    writeFileSync(apiKeysFile, JSON.stringify({ keys }));
    return tensorWorld({ apiKeysFile, auditLog: join(directory, 'audit.jsonl') });
  }

  async function stream(world: TensorWorld, key: string, count: number): Promise<ModelStreamInferResponse[]> {
    async function* requests(): AsyncGenerator<ModelInferRequest> {
      for (let index = 0; index < count; index++) yield asking('Hi');
    }
    const responses: ModelStreamInferResponse[] = [];
    for await (const response of world.client.modelStreamInfer(requests(), withKey(key))) responses.push(response);
    return responses;
  }

  it('tells everybody that the server is there, and nobody else of its models', async () => {
    await using world = await withKeys({ id: 'a', hash: sha256('right') });
    const { client } = world;
    expect((await client.serverLive({})).live).to.equal(true);
    expect((await client.serverReady({})).ready).to.equal(true);
    expect((await client.serverMetadata({})).name).to.equal('stator');
    const name = 'test-model';
    for (const asked of [
      client.modelReady({ name }),
      client.modelMetadata({ name }),
      client.modelConfig({ name }, withKey('wrong')),
      client.modelInfer(asking('Hi')),
      stream(world, 'wrong', 1),
    ])
      expect((await refusal(asked)).code).to.equal('unauthenticated');
    expect((await client.modelReady({ name }, withKey('right'))).ready).to.equal(true);
    expect(world.worker.sequences).to.deep.equal([]);
  });

  it('keeps models from those who may not use them', async () => {
    await using world = await withKeys({ id: 'a', hash: sha256('other'), models: ['other'] });
    const name = 'test-model';
    expect((await world.client.modelReady({ name }, withKey('other'))).ready).to.equal(false);
    expect((await refusal(world.client.modelInfer(asking('Hi'), withKey('other')))).code).to.equal('model_not_found');
  });

  it('counts every request of a stream', async () => {
    await using world = await withKeys({ id: 'a', hash: sha256('few'), requests_per_minute: 2 });
    const responses = await stream(world, 'few', 3);
    expect(responses.map(({ inferResponse }) => inferResponse?.outputs.length)).to.deep.equal([2, 2, 0]);
    expect(outputOf(responses[1]?.inferResponse, 'text_output')).to.deep.equal(['Hello']);
    expect(responses[2]?.errorMessage).to.match(/^rate_limited: /);
    const audit = (): string => readFileSync(join(directory, 'audit.jsonl'), 'utf8');
    await until(() => audit().includes('"outcome":"rate_limited"'));
    const all = audit()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    // The stream itself, which asks no model for anything, has a line too.
    const lines = all.filter(({ model, outcome }) => model !== '' || outcome !== 'answered');
    expect(lines.map(({ outcome }) => outcome)).to.deep.equal(['answered', 'answered', 'rate_limited']);
    expect(lines[0]).to.include({ path: '/inference.GRPCInferenceService/ModelStreamInfer', model: 'test-model' });
  });
});
