import { expect } from 'chai';
import OpenAI, { toFile } from 'openai';
import { batchObject } from './api/batches/schema.ts';
import { fileObject } from './api/files/answers.ts';
import { type Harness, startHarness } from './testing/harness.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';
import { until } from './testing/until.ts';

const model = 'test-model';
const endpoint = '/v1/chat/completions';

interface ResultLine {
  readonly custom_id: string;
  readonly response: { readonly status_code: number; readonly body: OpenAI.ChatCompletion } | null;
  readonly error: { readonly code: string } | null;
}

function clientOf(gateway: Harness): OpenAI {
  return new OpenAI({ apiKey: 'none', baseURL: `${gateway.url}/v1`, maxRetries: 0 });
}

function lineOf(id: string, change: object = {}): string {
  const body = { model, messages: [{ role: 'user', content: id }], ...change };
  return JSON.stringify({ custom_id: id, method: 'POST', url: endpoint, body });
}

async function begin(client: OpenAI, lines: readonly string[]): Promise<OpenAI.Batch> {
  const file = await client.files.create({ file: await toFile(Buffer.from(lines.join('\n'))), purpose: 'batch' });
  return client.batches.create({ input_file_id: file.id, endpoint, completion_window: '24h' });
}

async function ended(client: OpenAI, id: string): Promise<OpenAI.Batch> {
  const done = ['completed', 'failed', 'cancelled', 'expired'];
  await until(async () => done.includes((await client.batches.retrieve(id)).status));
  const batch = await client.batches.retrieve(id);
  batchObject.parse(JSON.parse(JSON.stringify(batch)));
  return batch;
}

async function results(client: OpenAI, fileId: string | null | undefined): Promise<ResultLine[]> {
  if (!fileId) return [];
  const text = await (await client.files.content(fileId)).text();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as ResultLine);
}

async function fault(call: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error = await call.catch((thrown: unknown) => thrown);
  if (error instanceof OpenAI.APIError) return error;
  throw new Error(`no API error: ${String(error)}`);
}

describe('files API', () => {
  it('keeps files of any content and size', async () => {
    await using gateway = await startHarness();
    const client = clientOf(gateway);
    const content = Buffer.alloc(2_500_000, 'äöü€');
    const file = await client.files.create({ file: await toFile(content, 'in.jsonl'), purpose: 'batch' });
    fileObject.parse(JSON.parse(JSON.stringify(file)));
    expect(file).to.include({ bytes: content.length, filename: 'in.jsonl', purpose: 'batch', status: 'processed' });
    const got = Buffer.from(await (await client.files.content(file.id)).arrayBuffer());
    expect(Buffer.compare(got, content)).to.equal(0);
    expect((await client.files.retrieve(file.id)).id).to.equal(file.id);
    expect(await client.files.delete(file.id)).to.include({ id: file.id, deleted: true });
    for (const call of [client.files.retrieve(file.id), client.files.content(file.id), client.files.delete(file.id)])
      expect((await fault(call)).status).to.equal(404);
  });

  it('lists files in pages, the newest first', async () => {
    await using gateway = await startHarness();
    const client = clientOf(gateway);
    const ids: string[] = [];
    for (let index = 0; index < 5; index++) {
      const file = await toFile(Buffer.from('x'), `${index}.txt`);
      ids.push((await client.files.create({ file, purpose: 'user_data' })).id);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const listed: string[] = [];
    for await (const file of client.files.list({ limit: 2 })) listed.push(file.id);
    expect(listed).to.deep.equal(ids.toReversed());
    expect((await client.files.list({ order: 'asc', limit: 1 })).data[0]?.id).to.equal(ids[0]);
    expect((await client.files.list({ purpose: 'batch' })).data).to.deep.equal([]);
  });

  it('refuses what is no upload, by the name of the part', async () => {
    await using gateway = await startHarness({ maxFileMib: 1 });
    const client = clientOf(gateway);
    const file = await toFile(Buffer.from('x'), 'x');
    expect((await fault(client.files.create({ file, purpose: 'vision' }))).param).to.equal('purpose');
    const expires = { anchor: 'created_at', seconds: 1 } as const;
    const brief = client.files.create({ file, purpose: 'batch', expires_after: expires });
    expect((await fault(brief)).param).to.equal('expires_after.seconds');
    const large = await toFile(Buffer.alloc(1_200_000), 'x');
    expect((await fault(client.files.create({ file: large, purpose: 'batch' }))).status).to.equal(413);
    expect((await gateway.post('/v1/files', {})).status).to.equal(415);
  });
});

describe('batches API', () => {
  it('answers every request of a file, in its order, errors apart', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('Yes')));
    const client = clientOf(gateway);
    const lines = Array.from({ length: 40 }, (_, index) => lineOf(`r${index}`));
    lines[7] = lineOf('r7', { model: 'none' });
    lines[9] = lineOf('r9', { temperature: 9 });
    lines[11] = lineOf('r11', { stream: true });
    const batch = await begin(client, lines);
    expect(batch).to.include({ status: 'validating', endpoint });
    const done = await ended(client, batch.id);
    expect(done.status).to.equal('completed');
    expect(done.request_counts).to.deep.equal({ total: 40, completed: 37, failed: 3 });
    const output = await results(client, done.output_file_id);
    const bad = ['r7', 'r9', 'r11'];
    const good = lines.map((_, index) => `r${index}`).filter((id) => !bad.includes(id));
    expect(output.map(({ custom_id: id }) => id)).to.deep.equal(good);
    expect(output[0]?.response?.body.choices[0]?.message.content).to.equal('Yes');
    const errors = await results(client, done.error_file_id);
    expect(errors.map(({ custom_id: id, response }) => [id, response?.status_code])).to.deep.equal([
      ['r7', 404],
      ['r9', 400],
      ['r11', 400],
    ]);
    expect((await client.batches.list()).data.map(({ id }) => id)).to.deep.equal([batch.id]);
  });

  it('runs completions and embeddings too', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('yes')));
    const client = clientOf(gateway);
    const body = { custom_id: 'a', method: 'POST', url: '/v1/completions', body: { model, prompt: ['x', 'y'] } };
    const file = await client.files.create({ file: await toFile(Buffer.from(JSON.stringify(body))), purpose: 'batch' });
    const asked = { input_file_id: file.id, endpoint: '/v1/completions', completion_window: '24h' } as const;
    const done = await ended(client, (await client.batches.create(asked)).id);
    const [line] = await results(client, done.output_file_id);
    expect(line?.response?.body.choices).to.have.length(2);
  });

  it('fails as a whole where the input is wrong, and says where', async () => {
    await using gateway = await startHarness();
    const client = clientOf(gateway);
    const batch = await begin(client, [lineOf('a'), '{', lineOf('a'), '', '{"custom_id": "b"}']);
    const done = await ended(client, batch.id);
    expect(done.status).to.equal('failed');
    const told = done.errors?.data?.map(({ line, param }) => [line, param]);
    expect(told).to.deep.equal([
      [2, null],
      [3, 'custom_id'],
      [5, 'method'],
    ]);
    const empty = await ended(client, (await begin(client, ['', ' '])).id);
    expect(empty.errors?.data?.[0]?.param).to.equal('input_file_id');
  });

  it('runs no more requests at once than it may', async () => {
    await using gateway = await startHarness({ batchConcurrency: 3 });
    let running = 0;
    let most = 0;
    const worker = new ScriptedWorker((sequence) => {
      running += 1;
      most = Math.max(most, running);
      setTimeout(() => {
        running -= 1;
        answering('ok')(sequence);
      }, 5);
    });
    gateway.addWorker(1n, worker);
    const client = clientOf(gateway);
    const lines = Array.from({ length: 20 }, (_, index) => lineOf(`r${index}`));
    const done = await ended(client, (await begin(client, lines)).id);
    expect(done.request_counts?.completed).to.equal(20);
    expect(most).to.equal(3);
  });

  it('ends as expired what its 24 hours do not suffice for, with what was answered', async () => {
    let laterMs = 0;
    const now = (): number => Date.now() + laterMs;
    await using gateway = await startHarness({ batchConcurrency: 2 }, undefined, now);
    const worker = new ScriptedWorker((sequence) => {
      if (worker.sequences.indexOf(sequence) < 2) answering('in time')(sequence);
    });
    gateway.addWorker(1n, worker);
    const client = clientOf(gateway);
    const { id } = await begin(
      client,
      ['a', 'b', 'c', 'd', 'e'].map((name) => lineOf(name)),
    );
    await until(() => worker.sequences.length === 4);
    const begun = await client.batches.retrieve(id);
    expect(begun.expires_at).to.equal(begun.created_at + 86_400);
    laterMs = 86_400_000;
    const done = await ended(client, id);
    expect(done.status).to.equal('expired');
    expect(done.expired_at).to.be.at.least(begun.expires_at ?? Number.POSITIVE_INFINITY);
    expect(done.completed_at ?? null).to.equal(null);
    expect(done.request_counts).to.deep.equal({ total: 5, completed: 2, failed: 3 });
    const output = await results(client, done.output_file_id);
    expect(output.map(({ custom_id: name }) => name)).to.deep.equal(['a', 'b']);
    const errors = await results(client, done.error_file_id);
    expect(errors.map(({ custom_id: name, error }) => [name, error?.code])).to.deep.equal(
      ['c', 'd', 'e'].map((name) => [name, 'batch_expired']),
    );
    await until(() => worker.sequences.slice(2).every(({ cancelled }) => cancelled));
    expect(worker.sequences, 'nothing is asked after its time').to.have.length(4);
  });

  it('waits for workers that are busy or not there yet', async () => {
    await using gateway = await startHarness();
    const client = clientOf(gateway);
    let refusals = 0;
    const worker = new ScriptedWorker((sequence) => {
      refusals += 1;
      if (refusals <= 3) sequence.fail('overloaded', 'full', false);
      else answering('ok')(sequence);
    });
    gateway.addWorker(1n, worker);
    const done = await ended(client, (await begin(client, [lineOf('a'), lineOf('b')])).id);
    expect(done.request_counts).to.deep.equal({ total: 2, completed: 2, failed: 0 });
  });

  it('refuses by the name of the field', async () => {
    await using gateway = await startHarness();
    const client = clientOf(gateway);
    const file = await client.files.create({ file: await toFile(Buffer.from('x'), 'x'), purpose: 'user_data' });
    const asked = { input_file_id: file.id, endpoint, completion_window: '24h' } as const;
    const cases: readonly (readonly [object, string])[] = [
      [{}, 'input_file_id'],
      [{ input_file_id: 'file-none' }, 'input_file_id'],
      [{ endpoint: '/v1/images/generations' }, 'endpoint'],
      [{ completion_window: '1h' }, 'completion_window'],
      [{ priority: 1 }, 'priority'],
    ];
    for (const [change, field] of cases) {
      const error = await fault(client.batches.create({ ...asked, ...change } as OpenAI.BatchCreateParams));
      expect(error.param, error.message).to.equal(field);
    }
    expect((await fault(client.batches.retrieve('batch_none'))).status).to.equal(404);
  });
});
