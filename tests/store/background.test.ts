import { expect } from 'chai';
import OpenAI from 'openai';
import type { GatewayConfig } from '#gateway/config.ts';
import { type Harness, startHarness } from '#gateway/testing/harness.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { openStore } from '#lib/store/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { until } from '#tests/support/until.ts';
import { type Place, places } from './places.ts';

const model = 'test-model';

for (const [name, open] of Object.entries(places)) {
  if (name !== 'SQLite in memory') describeBackground(name, open);
}

/** Responses in the background whose gateway leaves, dies or is taken for dead. */
function describeBackground(name: string, openPlace: (context: Mocha.Context) => Promise<Place>): void {
  describe(`responses in the background that a gateway leaves: ${name}`, function () {
    this.timeout(60_000);
    let place: Place;

    before(async function () {
      place = await openPlace(this);
    });
    after(async () => place?.dispose());

    async function gatewayWith(worker: ScriptedWorker, config: Partial<GatewayConfig> = {}): Promise<Harness> {
      const gateway = await startHarness({ ...config, store: place.url });
      gateway.addWorker(1n, worker);
      return gateway;
    }

    const clientOf = ({ url }: { readonly url: string }): OpenAI =>
      new OpenAI({ apiKey: 'none', baseURL: `${url}/v1`, maxRetries: 0 });

    async function ended(client: OpenAI, id: string): Promise<OpenAI.Responses.Response> {
      return until('the response has ended', async () => {
        const response = await client.responses.retrieve(id);
        return response.status !== 'queued' && response.status !== 'in_progress' && response;
      });
    }

    /** Runs that wait for somebody, and what they were asked with. */
    async function queued(): Promise<number> {
      const store = await openStore(place.url, { telemetry: quietTelemetry(), maxBytes: 1024 ** 3 });
      try {
        const [runs, asked] = [
          await store.list('response-runs', { limit: 9 }),
          await store.list('response-asked', { limit: 9 }),
        ];
        return runs.length + asked.length;
      } finally {
        await store.close();
      }
    }

    it('go on with another one when theirs shuts down, with all that was asked', async () => {
      const worker = new ScriptedWorker(answering('Yes'));
      const first = await gatewayWith(new ScriptedWorker(answering('Before')));
      const before = await clientOf(first).responses.create({ model, input: 'One' });
      const held = new ScriptedWorker();
      await using second = await gatewayWith(worker);
      await using leaving = await gatewayWith(held);
      const more = { previous_response_id: before.id, max_output_tokens: 77, temperature: 0 };
      const begun = await clientOf(leaving).responses.create({ model, input: 'Two', background: true, ...more });
      const sequence = await held.sequence(0);
      await first[Symbol.asyncDispose]();
      await leaving.context.background.stop();
      expect(sequence.cancelled).to.equal(true);
      const done = await ended(clientOf(second), begun.id);
      expect(done).to.include({ status: 'completed', output_text: 'Yes', created_at: begun.created_at });
      const { request } = await worker.sequence(0);
      expect(request.tokenIds).to.deep.equal(sequence.request.tokenIds);
      expect(request.stop).to.deep.equal(sequence.request.stop);
      await until('nothing is left to take up', async () => (await queued()) === 0);
    });

    it('go on with their events numbered on, where none told of output', async () => {
      const held = new ScriptedWorker();
      await using second = await gatewayWith(new ScriptedWorker(answering('Yes')));
      await using leaving = await gatewayWith(held);
      const asked = { model, input: 'Hi', background: true, stream: true } as const;
      const numbers: number[] = [];
      let id = '';
      for await (const event of await clientOf(leaving).responses.create(asked)) {
        if (event.type === 'response.created') id = event.response.id;
        numbers.push(event.sequence_number);
        if (event.type === 'response.in_progress') break;
      }
      await held.sequence(0);
      await leaving.context.background.stop();
      let text = '';
      const rest = await clientOf(second).responses.retrieve(id, { stream: true, starting_after: numbers.length - 1 });
      for await (const event of rest) {
        numbers.push(event.sequence_number);
        if (event.type === 'response.output_text.delta') text += event.delta;
      }
      expect(text).to.equal('Yes');
      expect(numbers).to.deep.equal([...numbers.keys()]);
      expect((await clientOf(second).responses.retrieve(id)).status).to.equal('completed');
    });

    it('fail where a client may have read some of the answer', async () => {
      const held = new ScriptedWorker();
      const worker = new ScriptedWorker(answering('Another'));
      await using second = await gatewayWith(worker);
      await using leaving = await gatewayWith(held);
      const asked = { model, input: 'Hi', background: true, stream: true } as const;
      let id = '';
      for await (const event of await clientOf(leaving).responses.create(asked)) {
        if (event.type === 'response.created') id = event.response.id;
        if (event.type === 'response.in_progress') (await held.sequence(0)).tokens('Ye');
        if (event.type === 'response.output_text.delta') break;
      }
      await leaving.context.background.stop();
      expect((await ended(clientOf(second), id)).status).to.equal('failed');
      expect(worker.sequences).to.deep.equal([]);
    });

    it('are answered once where theirs was only taken for dead', async () => {
      for (const stream of [false, true]) {
        const stalled = new ScriptedWorker();
        const worker = new ScriptedWorker();
        await using first = await gatewayWith(stalled);
        const asked = { model, input: 'Hi', background: true };
        let id = '';
        if (!stream) ({ id } = await clientOf(first).responses.create(asked));
        else
          for await (const event of await clientOf(first).responses.create({ ...asked, stream })) {
            if (event.type === 'response.created') id = event.response.id;
            if (event.type === 'response.in_progress') break;
          }
        const old = await stalled.sequence(0);
        await using second = await gatewayWith(worker);
        await expire(id);
        const taken = await worker.sequence(0);
        old.tokens('Old');
        old.finish();
        await until('the first one knows', async () =>
          /^stator_gateway_background_responses 0$/m.test(await first.context.telemetry.metrics.metrics()),
        );
        taken.tokens('New');
        taken.finish();
        const done = await ended(clientOf(second), id);
        expect(done).to.include({ status: 'completed', output_text: 'New' });
        if (!stream) continue;
        let text = '';
        for await (const event of await clientOf(first).responses.retrieve(id, { stream: true }))
          if (event.type === 'response.output_text.delta') text += event.delta;
        expect(text).to.equal('New');
      }
    });

    /** Makes the lease of a run end, although its gateway lives. */
    async function expire(id: string): Promise<void> {
      const store = await openStore(place.url, { telemetry: quietTelemetry(), maxBytes: 1024 ** 3 });
      try {
        await until('the lease has ended', async () => {
          const found = await store.get('response-runs', id);
          const run = JSON.parse(Buffer.from(found?.value ?? []).toString()) as object;
          const value = Buffer.from(JSON.stringify({ ...run, leaseUnixMs: 0 }));
          // Its gateway may have said just now that it lives.
          await store.put('response-runs', id, value, { ifVersion: found?.version ?? 0 });
          return true;
        });
      } finally {
        await store.close();
      }
    }
  });
}
