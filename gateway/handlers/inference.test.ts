import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@connectrpc/connect';
import { expect } from 'chai';
import { type CompleteResponse, InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { createLocalClient } from '#lib/rpc/local.ts';
import { type Harness, startHarness } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { refusal } from '../testing/tensors.ts';
import { until } from '../testing/until.ts';
import { publicInference } from './inference.ts';

type Inference = Client<typeof InferenceService>;

const asked = { model: 'test-model', prompt: { case: 'text', value: 'Hi' } } as const;

function clientOf(gateway: Harness): Inference {
  return createLocalClient(InferenceService, publicInference(gateway.context));
}

async function complete(client: Inference, options: object = {}): Promise<CompleteResponse[]> {
  const answers: CompleteResponse[] = [];
  for await (const answer of client.complete(asked, options)) answers.push(answer);
  return answers;
}

describe('typed gRPC requests count with those of REST', () => {
  it('towards the number that are answered at once, until they have ended', async () => {
    await using gateway = await startHarness({ maxRequests: 1 });
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const client = clientOf(gateway);
    const pending = complete(client);
    const sequence = await worker.sequence(0);
    expect(await refusal(complete(client))).to.include({ code: 'overloaded', retryAfterMs: 1000 });
    expect((await refusal(client.embed({ model: 'test-model' }))).code).to.equal('overloaded');
    expect((await gateway.post('/v1/completions', { model: 'test-model', prompt: 'Hi' })).status).to.equal(529);
    expect((await client.listModels({})).models.map(({ name }) => name)).to.deep.equal(['test-model']);
    sequence.finish();
    expect(await pending).not.to.deep.equal([]);
    await until(() => gateway.context.running.size === 0);
    worker.script = answering('ok');
    expect(await complete(client)).not.to.deep.equal([]);
    // What fails is no longer counted either.
    expect((await refusal(client.embed({ model: 'test-model' }))).code).not.to.equal('overloaded');
    await until(() => gateway.context.running.size === 0);
  });

  it('also where their client leaves', async () => {
    await using gateway = await startHarness({ maxRequests: 1 });
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const leaving = new AbortController();
    const pending = complete(clientOf(gateway), { signal: leaving.signal });
    const sequence = await worker.sequence(0);
    leaving.abort();
    expect((await refusal(pending)).code).to.equal('cancelled');
    await until(() => sequence.cancelled && gateway.context.running.size === 0);
  });

  it('and none begins while the gateway drains', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker());
    gateway.drain();
    expect((await refusal(complete(clientOf(gateway)))).code).to.equal('draining');
  });

  it('while a list of models asks for a key and counts for no limit', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'stator-inference-'));
    try {
      const apiKeysFile = join(directory, 'keys.yaml');
      const hash = `sha256:${createHash('sha256').update('right').digest('hex')}`;
      writeFileSync(apiKeysFile, JSON.stringify({ keys: [{ id: 'a', hash, requests_per_minute: 1 }] }));
      await using gateway = await startHarness({ apiKeysFile });
      gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
      const client = clientOf(gateway);
      const options = { headers: { authorization: 'Bearer right' } };
      expect((await refusal(client.listModels({}))).code).to.equal('unauthenticated');
      for (let count = 0; count < 3; count++) expect((await client.listModels({}, options)).models).to.have.length(1);
      expect(await complete(client, options)).not.to.deep.equal([]);
      expect((await refusal(complete(client, options))).code).to.equal('rate_limited');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
