import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import OpenAI, { toFile } from 'openai';
import { type Harness, startHarness } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { until } from '../testing/until.ts';

const model = 'test-model';
const endpoint = '/v1/chat/completions';
const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

describe('what tenants store', () => {
  let directory = '';
  let gateway: Harness;

  const clientOf = (key: string): OpenAI => new OpenAI({ apiKey: key, baseURL: `${gateway.url}/v1`, maxRetries: 0 });

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'stator-keys-'));
    const file = join(directory, 'keys.yaml');
    const keys = [
      { id: 'a1', tenant: 'a', hash: sha256('key-a1') },
      { id: 'a2', tenant: 'a', hash: sha256('key-a2') },
      { id: 'b', tenant: 'b', hash: sha256('key-b'), models: ['other'] },
    ];
    writeFileSync(file, JSON.stringify({ keys }));
    gateway = await startHarness({ apiKeysFile: file });
    gateway.addWorker(1n, new ScriptedWorker(answering('Yes')));
  });

  after(async () => {
    await gateway[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  async function statusOf(call: Promise<unknown>): Promise<number> {
    const error = await call.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    if (error === null) return 200;
    if (error instanceof OpenAI.APIError) return error.status ?? 0;
    throw error;
  }

  async function upload(client: OpenAI): Promise<string> {
    const body = { model, messages: [{ role: 'user', content: 'Hi' }] };
    const line = JSON.stringify({ custom_id: 'x', method: 'POST', url: endpoint, body });
    return (await client.files.create({ file: await toFile(Buffer.from(line), 'x'), purpose: 'batch' })).id;
  }

  it('asks for a key on every path', async () => {
    const nobody = clientOf('wrong');
    const file = await toFile(Buffer.from('x'), 'x');
    for (const call of [
      nobody.responses.create({ model, input: 'Hi' }),
      nobody.responses.retrieve('resp_x'),
      nobody.responses.delete('resp_x'),
      nobody.responses.cancel('resp_x'),
      nobody.responses.inputItems.list('resp_x'),
      nobody.files.create({ file, purpose: 'batch' }),
      nobody.files.list(),
      nobody.files.retrieve('file-x'),
      nobody.files.content('file-x'),
      nobody.files.delete('file-x'),
      nobody.batches.create({ input_file_id: 'x', endpoint, completion_window: '24h' }),
      nobody.batches.list(),
      nobody.batches.retrieve('batch_x'),
      nobody.batches.cancel('batch_x'),
    ])
      expect(await statusOf(call)).to.equal(401);
  });

  it('is there for all keys of the tenant, and for no other tenant', async () => {
    const [one, two, other] = [clientOf('key-a1'), clientOf('key-a2'), clientOf('key-b')];
    const response = await one.responses.create({ model, input: 'Hi' });
    const file = await upload(one);
    const batch = await one.batches.create({ input_file_id: file, endpoint, completion_window: '24h' });
    expect(await statusOf(two.responses.retrieve(response.id))).to.equal(200);
    expect((await two.files.list()).data.map(({ id }) => id)).to.include(file);
    expect(await statusOf(two.batches.retrieve(batch.id))).to.equal(200);
    for (const call of [
      other.responses.retrieve(response.id),
      other.responses.inputItems.list(response.id),
      other.responses.cancel(response.id),
      other.responses.delete(response.id),
      other.files.retrieve(file),
      other.files.content(file),
      other.files.delete(file),
      other.batches.create({ input_file_id: file, endpoint, completion_window: '24h' }),
      other.batches.retrieve(batch.id),
      other.batches.cancel(batch.id),
    ])
      expect(await statusOf(call)).to.equal(404);
    expect((await other.files.list()).data).to.deep.equal([]);
    expect((await other.batches.list()).data).to.deep.equal([]);
    await until(async () => (await one.batches.retrieve(batch.id)).status === 'completed');
  });

  it('lets a batch ask only what its key may', async () => {
    const other = clientOf('key-b');
    const asked = { input_file_id: await upload(other), endpoint, completion_window: '24h' } as const;
    const batch = await other.batches.create(asked);
    await until(async () => (await other.batches.retrieve(batch.id)).status === 'completed');
    const done = await other.batches.retrieve(batch.id);
    expect(done.request_counts).to.deep.equal({ total: 1, completed: 0, failed: 1 });
    const errors = await (await other.files.content(done.error_file_id ?? '')).text();
    const { response } = JSON.parse(errors) as { response: { status_code: number } };
    expect(response.status_code).to.be.oneOf([403, 404]);
  });

  it('is worked on only as long as the key is in force, by what it may then', async () => {
    const file = join(directory, 'changing.yaml');
    const write = (...keys: readonly object[]): void => writeFileSync(file, JSON.stringify({ keys }));
    const key = { id: 'c', hash: sha256('key-c') };
    write(key);
    const script = new ScriptedWorker((sequence) => {
      if (script.sequences.indexOf(sequence) === 0) answering('Yes')(sequence);
    });
    await using changing = await startHarness({ apiKeysFile: file, apiKeysReloadSeconds: 0.05, batchConcurrency: 1 });
    changing.addWorker(1n, script);
    const client = new OpenAI({ apiKey: 'key-c', baseURL: `${changing.url}/v1`, maxRetries: 0 });
    const lines = ['a', 'b', 'c'].map((name) =>
      JSON.stringify({
        ...{ custom_id: name, method: 'POST', url: endpoint },
        body: { model, messages: [{ role: 'user', content: name }] },
      }),
    );
    const input = await client.files.create({
      file: await toFile(Buffer.from(lines.join('\n')), 'x'),
      purpose: 'batch',
    });
    const { id } = await client.batches.create({ input_file_id: input.id, endpoint, completion_window: '24h' });
    const second = await script.sequence(1);
    write({ id: 'd', tenant: 'c', hash: sha256('key-d') });
    const heir = new OpenAI({ apiKey: 'key-d', baseURL: `${changing.url}/v1`, maxRetries: 0 });
    await until(async () => (await statusOf(heir.batches.retrieve(id))) === 200);
    answering('Yes')(second);
    await until(async () => (await heir.batches.retrieve(id)).status === 'completed');
    const done = await heir.batches.retrieve(id);
    expect(done.request_counts).to.deep.equal({ total: 3, completed: 2, failed: 1 });
    const errors = await (await heir.files.content(done.error_file_id ?? '')).text();
    expect(JSON.parse(errors))
      .to.deep.include({ custom_id: 'c' })
      .and.to.have.nested.property('response.status_code', 401);
    expect(script.sequences).to.have.length(2);
  });
});
