import { expect } from 'chai';
import type { ErrorBody } from './testing/answers.ts';
import { type Harness, startHarness, testCard } from './testing/harness.ts';
import { ScriptedRouter } from './testing/scripted-router.ts';
import { answering, ScriptedWorker } from './testing/scripted-worker.ts';

const path = '/busy_threshold';
const off = {
  active_decode_blocks_threshold: null,
  active_prefill_tokens_threshold: null,
  active_prefill_tokens_threshold_frac: null,
};

describe('busy thresholds', () => {
  async function start(router: ScriptedRouter, config: Parameters<typeof startHarness>[0] = {}): Promise<Harness> {
    const gateway = await startHarness(config, router);
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
    gateway.addWorker(2n, new ScriptedWorker(answering('ok')), testCard({ name: 'other', aliases: [] }));
    return gateway;
  }

  async function ask(gateway: Harness, body: object): Promise<{ status: number; body: unknown }> {
    const response = await gateway.post(path, body);
    return { status: response.status, body: await response.json() };
  }

  it('are off until set, set field by field, and echoed', async () => {
    const router = new ScriptedRouter([{ instanceId: 1n }]);
    await using gateway = await start(router);
    const model = 'test-model';
    expect(await ask(gateway, { model })).to.deep.equal({ status: 200, body: { model, ...off } });
    const set = { active_decode_blocks_threshold: 0.85, active_prefill_tokens_threshold: 4096 };
    expect((await ask(gateway, { model: 'test-alias', ...set })).body).to.deep.equal({ model, ...off, ...set });
    const fraction = { active_prefill_tokens_threshold_frac: 1.5 };
    expect((await ask(gateway, { model, ...fraction })).body).to.deep.equal({ model, ...set, ...fraction });
    expect((await ask(gateway, { model, ...off })).body).to.deep.equal({ model, ...set, ...fraction });
    const change = { active_decode_blocks_threshold: null, active_prefill_tokens_threshold: 0 };
    expect((await ask(gateway, { model, ...change })).body).to.deep.equal({ model, ...change, ...fraction });
    expect(router.limits.get(model)).to.deep.equal({ activePrefillTokens: 0n, activePrefillTokensFraction: 1.5 });
    const list = await (await fetch(`${gateway.url}${path}`)).json();
    expect(list).to.deep.equal({
      thresholds: [
        { model: 'test-model', ...change, ...fraction },
        { model: 'other', ...off },
      ],
    });
  });

  it('refuses what is no threshold, naming the field', async () => {
    await using gateway = await start(new ScriptedRouter([]));
    const cases: readonly [object, number, string | null][] = [
      [{}, 400, 'model'],
      [{ model: 'absent' }, 404, 'model'],
      [{ model: 'test-model', active_decode_blocks_threshold: 1.1 }, 400, 'active_decode_blocks_threshold'],
      [{ model: 'test-model', active_decode_blocks_threshold: '1' }, 400, 'active_decode_blocks_threshold'],
      [{ model: 'test-model', active_prefill_tokens_threshold: 0.5 }, 400, 'active_prefill_tokens_threshold'],
      [{ model: 'test-model', active_prefill_tokens_threshold_frac: -1 }, 400, 'active_prefill_tokens_threshold_frac'],
      [{ model: 'test-model', threshold: 1 }, 400, 'threshold'],
    ];
    for (const [body, status, param] of cases) {
      const answer = await ask(gateway, body);
      expect(answer.status, JSON.stringify(body)).to.equal(status);
      expect((answer.body as ErrorBody).error.param, JSON.stringify(body)).to.equal(param);
    }
  });

  it('need a router', async () => {
    await using gateway = await startHarness();
    gateway.addWorker(1n, new ScriptedWorker(answering('ok')));
    expect((await ask(gateway, { model: 'test-model' })).status).to.equal(503);
  });

  it('are for callers with the internal token, where there is one', async () => {
    await using gateway = await start(new ScriptedRouter([]), { internalToken: 'secret' });
    const statusOf = async (authorization: string): Promise<number> => {
      const response = await fetch(`${gateway.url}${path}`, { headers: authorization === '' ? {} : { authorization } });
      await response.text();
      return response.status;
    };
    expect(await statusOf('')).to.equal(401);
    expect(await statusOf('Bearer wrong')).to.equal(401);
    expect(await statusOf('Bearer secret')).to.equal(200);
  });

  it('may be switched off', async () => {
    await using gateway = await start(new ScriptedRouter([]), { adminApi: false });
    expect((await ask(gateway, { model: 'test-model' })).status).to.equal(404);
  });
});
