import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import { startHarness, testCard } from '../testing/harness.ts';
import { ScriptedRouter } from '../testing/scripted-router.ts';
import { ScriptedWorker } from '../testing/scripted-worker.ts';
import { until } from '../testing/until.ts';

const chat = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };

describe('gateway metrics', () => {
  async function page(url: string): Promise<string[]> {
    return (await (await fetch(`${url}/metrics`)).text()).split('\n');
  }

  it('are all documented', async () => {
    await using gateway = await startHarness();
    const shown = (await page(gateway.url)).flatMap((line) => /^# TYPE (stator_gateway_\S+)/.exec(line)?.[1] ?? []);
    const text = await readFile(new URL('../../docs/gateway-metrics.md', import.meta.url), 'utf8');
    const documented = [...text.matchAll(/^\| `(stator_gateway_\w+)/gm)].map(([, name]) => name);
    expect(documented.toSorted()).to.deep.equal(shown.toSorted());
  });

  it('say what routing gave and where the time went', async () => {
    const router = new ScriptedRouter([{ instanceId: 1n, queueUs: 250_000 }]);
    await using gateway = await startHarness({}, router);
    const worker = new ScriptedWorker((sequence) => {
      sequence.prefilled(6, { queueUs: 2000 });
      sequence.tokens('ok');
      sequence.finish();
    });
    gateway.addWorker(1n, worker);
    await gateway.post('/v1/chat/completions', chat);
    // A worker that says nothing of the prompt is no sample.
    worker.script = (sequence) => sequence.finish();
    await gateway.post('/v1/chat/completions', chat);
    const lines = await page(gateway.url);
    const model = '{model="test-model"}';
    expect(lines).to.include(`stator_gateway_kv_hit_rate_sum${model} 0.75`);
    expect(lines).to.include(`stator_gateway_kv_hit_rate_count${model} 1`);
    expect(lines).to.include('stator_gateway_kv_hit_rate_bucket{le="0.7",model="test-model"} 0');
    expect(lines).to.include(`stator_gateway_router_queue_seconds_sum${model} 0.5`);
    const counts = ['preprocess', 'route', 'wait', 'prefill'].map((stage) => {
      const start = `stator_gateway_stage_duration_seconds_count{model="test-model",stage="${stage}"} `;
      return lines.find((line) => line.startsWith(start))?.slice(start.length);
    });
    expect(counts).to.deep.equal(['2', '2', '1', '1']);
    const waited = lines.find((line) => line.includes('duration_seconds_sum{model="test-model",stage="wait"}'));
    expect(Number(waited?.split(' ')[1])).to.be.closeTo(0.002, 1e-6);
  });

  it('count the way to the first token, however often a request moves later', async () => {
    await using gateway = await startHarness({}, new ScriptedRouter([{ instanceId: 1n }, { instanceId: 2n }]));
    const first = new ScriptedWorker();
    gateway.addWorker(1n, first);
    const second = new ScriptedWorker((sequence) => sequence.finish());
    gateway.addWorker(2n, second);
    const pending = gateway.post('/v1/chat/completions', { ...chat, stream: true });
    const sequence = await first.sequence(0);
    sequence.prefilled();
    sequence.tokens('ok');
    await (await pending).body?.getReader().read();
    sequence.lose();
    await until(() => gateway.context.workers.inFlight === 0 && second.sequences.length === 1);
    const lines = await page(gateway.url);
    const sum = (start: string): number => Number(lines.find((line) => line.startsWith(start))?.split(' ')[1]);
    const stages = ['preprocess', 'route'].map((stage) =>
      sum(`stator_gateway_stage_duration_seconds_sum{model="test-model",stage="${stage}"}`),
    );
    const firstToken = sum('stator_gateway_time_to_first_token_seconds_sum{model="test-model"}');
    expect((stages[0] ?? NaN) + (stages[1] ?? NaN)).to.be.at.most(firstToken);
  });

  it('say of each model what its card says, for as long as it is there', async () => {
    await using gateway = await startHarness();
    const card = testCard();
    if (card.limits !== undefined) card.limits.kvBlocks = 512n;
    gateway.addWorker(1n, new ScriptedWorker(), card);
    gateway.addWorker(2n, new ScriptedWorker(), card);
    const model = '{model="test-model"}';
    const lines = await page(gateway.url);
    expect(lines).to.include(`stator_gateway_model_ready${model} 1`);
    expect(lines).to.include(`stator_gateway_model_workers${model} 2`);
    expect(lines).to.include(`stator_gateway_model_context_length${model} 4096`);
    expect(lines).to.include(`stator_gateway_model_total_kv_blocks${model} 512`);
    gateway.context.catalog.remove(1n);
    gateway.context.catalog.remove(2n);
    expect((await page(gateway.url)).filter((line) => line.startsWith('stator_gateway_model_'))).to.deep.equal([]);
  });
});
