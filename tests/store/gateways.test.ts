import { expect } from 'chai';
import OpenAI, { toFile } from 'openai';
import type { GatewayConfig } from '#gateway/config.ts';
import { type Harness, startHarness } from '#gateway/testing/harness.ts';
import { answering, type ScriptedSequence, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { until } from '#tests/support/until.ts';
import { type Place, places } from './places.ts';

const model = 'test-model';
const endpoint = '/v1/chat/completions';

interface ResultLine {
  readonly response: { readonly body: OpenAI.ChatCompletion } | null;
  readonly error: { readonly code: string } | null;
}

function clientOf(gateway: Harness): OpenAI {
  return new OpenAI({ apiKey: 'none', baseURL: `${gateway.url}/v1`, maxRetries: 0 });
}

async function begin(client: OpenAI, requests: number): Promise<OpenAI.Batch> {
  const lines = Array.from({ length: requests }, (_, index) =>
    JSON.stringify({
      ...{ custom_id: `r${index}`, method: 'POST', url: endpoint },
      body: { model, messages: [{ role: 'user', content: `${index}` }] },
    }),
  );
  const file = await client.files.create({ file: await toFile(Buffer.from(lines.join('\n'))), purpose: 'batch' });
  return client.batches.create({ input_file_id: file.id, endpoint, completion_window: '24h' });
}

async function ended(client: OpenAI, id: string): Promise<OpenAI.Batch> {
  await until('the batch has ended', async () => {
    const { status } = await client.batches.retrieve(id);
    return ['completed', 'failed', 'cancelled', 'expired'].includes(status);
  });
  return client.batches.retrieve(id);
}

async function results(client: OpenAI, fileId: string | null | undefined): Promise<ResultLine[]> {
  const text = await (await client.files.content(fileId ?? '')).text();
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as ResultLine);
}

for (const [name, open] of Object.entries(places)) {
  if (name !== 'SQLite in memory') describeGateways(name, open);
}

/** Two gateways that share nothing but a store. */
function describeGateways(name: string, openPlace: (context: Mocha.Context) => Promise<Place>): void {
  describe(`gateways over one store: ${name}`, function () {
    this.timeout(60_000);
    let place: Place;

    before(async function () {
      place = await openPlace(this);
    });

    after(async () => {
      await place?.dispose();
    });

    async function gatewayWith(worker: ScriptedWorker, config: Partial<GatewayConfig> = {}): Promise<Harness> {
      const gateway = await startHarness({ ...config, store: place.url });
      gateway.addWorker(1n, worker);
      return gateway;
    }

    it('account sessions together', async () => {
      const config = { sessionAccountsSyncSeconds: 0.05 };
      await using one = await gatewayWith(new ScriptedWorker(answering('Yes')), config);
      await using other = await gatewayWith(new ScriptedWorker(answering('Yes')), config);
      const session = { 'x-stator-session-id': `thread-${name}` };
      for (const gateway of [one, other, one]) {
        const messages = [{ role: 'user' as const, content: 'Hi' }];
        await clientOf(gateway).chat.completions.create({ model, messages }, { headers: session });
      }
      const path = `/v1/agents/sessions/${encodeURIComponent(`thread-${name}`)}`;
      for (const gateway of [one, other])
        await until('it knows all three', async () => {
          const response = await fetch(`${gateway.url}${path}`);
          const { requests, running, output_tokens: output } = (await response.json()) as Record<string, number>;
          return requests === 3 && running === 0 && output === 9;
        });
      const listed = await (await fetch(`${other.url}/v1/agents/sessions`)).json();
      expect(listed).to.have.nested.property('data[0].requests', 3);
    });

    it('continue and delete the responses of each other', async () => {
      const worker = new ScriptedWorker(answering('More.'));
      await using first = await gatewayWith(new ScriptedWorker(answering('Yes.')));
      await using second = await gatewayWith(worker);
      const begun = await clientOf(first).responses.create({ model, input: 'Hi' });
      const asked = { model, previous_response_id: begun.id, input: 'And?' };
      const next = await clientOf(second).responses.create(asked);
      expect(next.output_text).to.equal('More.');
      expect(next.usage?.input_tokens).to.equal('<user>Hi<assistant>Yes.<user>And?'.length);
      await clientOf(second).responses.delete(begun.id);
      const gone = await clientOf(first)
        .responses.retrieve(begun.id)
        .catch((thrown: unknown) => thrown);
      expect(gone).to.be.instanceOf(OpenAI.NotFoundError);
    });

    it('cancel what runs in the background on the other one', async () => {
      const worker = new ScriptedWorker();
      await using first = await gatewayWith(worker);
      await using second = await gatewayWith(new ScriptedWorker());
      const begun = await clientOf(first).responses.create({ model, input: 'Hi', background: true });
      const sequence = await worker.sequence(0);
      expect((await clientOf(second).responses.cancel(begun.id)).status).to.equal('cancelled');
      await until('the engine was told', () => sequence.cancelled);
      expect((await clientOf(first).responses.retrieve(begun.id)).status).to.equal('cancelled');
    });

    it('tell what runs in the background on the other one, as it comes', async () => {
      const worker = new ScriptedWorker();
      await using first = await gatewayWith(worker);
      await using second = await gatewayWith(new ScriptedWorker());
      const asked = await clientOf(first).responses.create({ model, input: 'Hi', background: true, stream: true });
      const sequence = await worker.sequence(0);
      let id = '';
      for await (const event of asked) {
        if (event.type === 'response.created') id = event.response.id;
        if (event.type === 'response.in_progress') break;
      }
      const numbers: number[] = [];
      let text = '';
      for await (const event of await clientOf(second).responses.retrieve(id, { stream: true })) {
        numbers.push(event.sequence_number);
        if (event.type === 'response.in_progress') sequence.tokens('Yes');
        if (event.type === 'response.output_text.delta') {
          text += event.delta;
          if (text === 'Yes') sequence.finish();
        }
      }
      expect(text).to.equal('Yes');
      expect(numbers).to.deep.equal([...numbers.keys()]);
      expect((await clientOf(second).responses.retrieve(id)).status).to.equal('completed');
    });

    it('go on with a batch where the one that died stopped, without asking again', async () => {
      let id = '';
      let asked = 0;
      const answerFirst = (sequence: ScriptedSequence): void => {
        asked += 1;
        if (asked <= 5) answering('first')(sequence);
      };
      {
        await using first = await gatewayWith(new ScriptedWorker(answerFirst), { batchConcurrency: 2 });
        const client = clientOf(first);
        ({ id } = await begin(client, 12));
        await until('five are answered', async () => {
          return (await client.batches.retrieve(id)).request_counts?.completed === 5;
        });
      }
      const worker = new ScriptedWorker(answering('second'));
      await using second = await gatewayWith(worker);
      const client = clientOf(second);
      const done = await ended(client, id);
      expect(done.request_counts).to.deep.equal({ total: 12, completed: 12, failed: 0 });
      const lines = await results(client, done.output_file_id);
      const texts = lines.map(({ response }) => response?.body.choices[0]?.message.content);
      expect(texts.filter((text) => text === 'first')).to.have.length(5);
      expect(texts).to.have.length(12);
      expect(worker.sequences).to.have.length(7);
    });

    it('run a batch on one of them, and cancel it through the other', async () => {
      const workers = [new ScriptedWorker(), new ScriptedWorker()] as const;
      await using first = await gatewayWith(workers[0], { batchConcurrency: 2 });
      await using second = await gatewayWith(workers[1], { batchConcurrency: 2 });
      const batch = await begin(clientOf(first), 5);
      const running = (): ScriptedSequence[] => workers.flatMap(({ sequences }) => sequences);
      await until('two requests run', () => running().length === 2);
      expect(workers.filter(({ sequences }) => sequences.length > 0)).to.have.length(1);
      const [one] = running();
      one?.tokens('ok');
      one?.finish();
      await until('the third runs', () => running().length === 3);
      const cancelling = await clientOf(second).batches.cancel(batch.id);
      expect(cancelling.status).to.equal('cancelling');
      const done = await ended(clientOf(second), batch.id);
      expect(done.status).to.equal('cancelled');
      expect(done.request_counts).to.deep.equal({ total: 5, completed: 1, failed: 4 });
      const errors = await results(clientOf(first), done.error_file_id);
      expect(errors.every(({ error }) => error?.code === 'batch_cancelled')).to.equal(true);
      await until('the engine was told', () => running().filter(({ cancelled }) => cancelled).length === 2);
      expect((await clientOf(first).batches.cancel(batch.id)).status, 'once more').to.equal('cancelled');
    });
  });
}
