import { expect } from 'chai';
import OpenAI from 'openai';
import { startHarness } from '#gateway/testing/harness.ts';
import { answering, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { until } from '#tests/support/until.ts';
import { startGatewayProcess } from './gateway-process.ts';
import { places } from './places.ts';

const model = 'test-model';

for (const [name, openPlace] of Object.entries(places)) {
  if (name === 'SQLite in memory') continue;
  describe(`responses in the background of a gateway that is killed: ${name}`, function () {
    this.timeout(120_000);

    it('are begun again by another one, but for those that were told in part', async function () {
      const place = await openPlace(this);
      const config = { store: place.url, backgroundLeaseSeconds: 6 };
      const worker = new ScriptedWorker(answering('Yes'));
      const living = await startHarness(config);
      living.addWorker(1n, worker);
      const dying = await startGatewayProcess({ ...config, console: false });
      try {
        const clientOf = (url: string): OpenAI => new OpenAI({ apiKey: 'none', baseURL: `${url}/v1`, maxRetries: 0 });
        const client = clientOf(dying.url);
        const whole = await client.responses.create({ model, input: 'hang', background: true });
        const told = await client.responses.create({ model, input: 'hang', background: true, stream: true });
        let id = '';
        for await (const event of told) {
          if (event.type === 'response.created') id = event.response.id;
          if (event.type === 'response.output_text.delta') break;
        }
        await dying.end('SIGKILL');
        const ended = (one: string): Promise<OpenAI.Responses.Response> =>
          until(
            'the response has ended',
            async () => {
              const response = await clientOf(living.url).responses.retrieve(one);
              return response.status !== 'queued' && response.status !== 'in_progress' && response;
            },
            45_000,
          );
        expect(await ended(whole.id)).to.include({ status: 'completed', output_text: 'Yes' });
        expect((await ended(id)).status, 'some of it was told').to.equal('failed');
        expect(worker.sequences).to.have.length(1);
      } finally {
        await dying.end('SIGKILL');
        await living[Symbol.asyncDispose]();
        await place.dispose();
      }
    });
  });
}
