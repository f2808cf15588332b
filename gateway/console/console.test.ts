import { expect } from 'chai';
import { startHarness } from '../testing/harness.ts';
import { ScriptedWorker } from '../testing/scripted-worker.ts';
import { until } from '../testing/until.ts';
import type { ConsoleState } from './state.ts';

async function stateOf(url: string): Promise<ConsoleState> {
  const response = await fetch(`${url}/console/state`);
  expect(response.status).to.equal(200);
  return (await response.json()) as ConsoleState;
}

describe('the console', () => {
  it('serves its page and every module that the page loads, and nothing else', async () => {
    await using gateway = await startHarness();
    const page = await fetch(`${gateway.url}/console`);
    const text = await page.text();
    expect(page.headers.get('content-security-policy')).to.contain("default-src 'none'");
    const loaded = new Set<string>();
    expect(text).to.contain('/console/vendor/lit-html.js');
    const wanted = [...text.matchAll(/"(\/console\/[^"]+)"/g)].map(([, path = '']) => path);
    for (let path = wanted.pop(); path !== undefined; path = wanted.pop()) {
      if (loaded.has(path)) continue;
      loaded.add(path);
      const response = await fetch(gateway.url + path);
      expect(response.status, path).to.equal(200);
      const module = await response.text();
      for (const [, name = ''] of module.matchAll(/from '\.\/([\w.-]+)'/g)) wanted.push(`/console/${name}`);
    }
    expect(loaded.size).to.be.greaterThan(8);
    for (const path of ['assets.ts', '../config.ts', 'page/main.ts', 'nothing.js', 'style.ts', 'main.ts.map'])
      expect((await fetch(`${gateway.url}/console/${path}`)).status, path).to.equal(404);
  });

  it('follows a request from its arrival to its end', async () => {
    await using gateway = await startHarness();
    const worker = new ScriptedWorker();
    gateway.addWorker(1n, worker);
    const body = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }] };
    const answer = gateway.post('/v1/chat/completions', body);
    await until(() => worker.sequences.length === 1);
    const [running] = (await stateOf(gateway.url)).requests;
    expect(running).to.deep.include({ outcome: 'running', model: 'test-model', endpoint: 'chat_completions' });
    worker.sequences[0]?.prefilled(3);
    worker.sequences[0]?.tokens('Hello');
    worker.sequences[0]?.finish();
    await answer;
    await gateway.post('/v1/chat/completions', { ...body, model: 'nobody' });
    const { requests, totals, models } = await stateOf(gateway.url);
    const [refused, answered] = requests;
    expect(refused).to.deep.include({ outcome: 'model_not_found', prompts: [] });
    expect(answered?.outcome).to.equal('answered');
    const [prompt] = answered?.prompts ?? [];
    expect(prompt).to.deep.include({ cached_tokens: 3, output_tokens: 5, migrations: 0 });
    const names = prompt?.events.map(({ name }) => name) ?? [];
    expect(names).to.include.members(['preprocessed', 'routed', 'first token', 'last token']);
    expect(prompt?.decisions[0]).to.deep.include({ stage: 'prompt', worker_id: '1' });
    expect(totals.hit_rate).to.be.within(0.01, 0.99);
    expect(models).to.have.length(1);
  });

  it('forgets old requests beyond its bound', async () => {
    await using gateway = await startHarness({ consoleRequests: 2 });
    for (let i = 0; i < 5; i++) await gateway.post('/v1/chat/completions', { model: `m${i}`, messages: [] });
    expect((await stateOf(gateway.url)).requests).to.have.length(2);
  });

  it('tells of the deployment to administrators only, and of nothing where it is switched off', async () => {
    await using locked = await startHarness({ internalToken: 'secret-token' });
    expect((await fetch(`${locked.url}/console/state`)).status).to.equal(401);
    const headers = { authorization: 'Bearer secret-token' };
    expect((await fetch(`${locked.url}/console/state`, { headers })).status).to.equal(200);
    await using off = await startHarness({ console: false });
    for (const path of ['/console', '/console/', '/console/state', '/console/main.ts'])
      expect((await fetch(off.url + path)).status, path).to.equal(404);
  });
});
