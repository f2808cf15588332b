import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { GatewayConfig } from '../config.ts';
import { unlimited } from '../tenants/caller.ts';
import { decodeBytes } from '../testing/byte-tokenizer.ts';
import { type Harness, startHarness } from '../testing/harness.ts';
import { answering, type ScriptedSequence, ScriptedWorker } from '../testing/scripted-worker.ts';
import { hermesCall, toolCard, weatherTool } from '../testing/tool-chats.ts';
import { until } from '../testing/until.ts';

const question = [{ role: 'user', content: 'What is it like?' }];
const speculative = { agent_hints: { speculative_prefill: true } };

/** Answers clients with a text, and whatever else is asked with one token. */
function answers(text: string, more: Partial<Record<'isHeld', boolean>> = {}): (sequence: ScriptedSequence) => void {
  return (sequence) => {
    if (!sequence.request.requestId.endsWith('/next')) answering(text)(sequence);
    else if (more.isHeld !== true) answering('x')(sequence);
  };
}

describe('the next turn in advance', () => {
  const open: Harness[] = [];

  afterEach(async () => {
    for (const gateway of open.splice(0)) await gateway[Symbol.asyncDispose]();
  });

  async function start(worker: ScriptedWorker, config: Partial<GatewayConfig> = {}): Promise<Harness> {
    const gateway = await startHarness(config);
    open.push(gateway);
    gateway.addWorker(1n, worker, toolCard());
    return gateway;
  }

  async function chat(gateway: Harness, change: object, headers: Record<string, string> = {}) {
    const body = { model: 'test-model', messages: question, nvext: speculative, max_tokens: 500, ...change };
    const sent = { 'content-type': 'application/json', ...headers };
    const response = await gateway.post('/v1/chat/completions', body, { headers: sent });
    expect(response.status, await response.clone().text()).to.equal(200);
    return (await response.json()) as { choices: { message: { content: string } }[] };
  }

  async function outcomes(gateway: Harness): Promise<Record<string, number>> {
    const text = await (await fetch(`${gateway.url}/metrics`)).text();
    const found = text.matchAll(/^stator_gateway_speculative_prefills_total\{outcome="(\w+)"\} (\d+)$/gm);
    return Object.fromEntries([...found].map(([, outcome = '', count]) => [outcome, Number(count)]));
  }

  const done = (gateway: Harness, outcome: string): Promise<unknown> =>
    until(() => outcomes(gateway).then((counts) => counts[outcome] !== undefined));

  /** What was asked of the engine for nobody, as text. */
  async function foreseen(worker: ScriptedWorker, index = 1): Promise<string> {
    const { request } = await worker.sequence(index);
    expect(request.requestId).to.match(/\/next$/);
    return decodeBytes(request.tokenIds);
  }

  it('is what every continuation of the conversation begins with, and nothing more', async () => {
    const worker = new ScriptedWorker(answers('It rains.'));
    const gateway = await start(worker);
    const { choices } = await chat(gateway, {});
    expect(await foreseen(worker)).to.equal('<user>What is it like?<assistant>It rains.<user>');
    await done(gateway, 'done');
    const messages = [...question, choices[0]?.message, { role: 'user', content: 'And now?' }];
    await chat(gateway, { messages, nvext: {} });
    const { request } = await worker.sequence(2);
    expect(decodeBytes(request.tokenIds)).to.equal('<user>What is it like?<assistant>It rains.<user>And now?');
  });

  it('is one token of the lowest priority that no answer and no latency shows', async () => {
    const worker = new ScriptedWorker(answers('It rains.'));
    const gateway = await start(worker);
    await chat(gateway, { nvext: { agent_hints: { speculative_prefill: true, priority: 5 } }, stop: ['rains'] });
    const { request } = await worker.sequence(1);
    expect([request.priority, request.stop?.maxTokens]).to.deep.equal([-0x8000_0000, 1]);
    expect(decodeBytes(request.tokenIds)).to.equal('<user>What is it like?<assistant>It <user>');
    await done(gateway, 'done');
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).to.include('stator_gateway_time_to_first_token_seconds_count{model="test-model"} 1');
    expect(metrics).to.include(
      `stator_gateway_speculative_prefill_tokens_total{kind="prompt"} ${request.tokenIds.length}`,
    );
  });

  it('leaves reasoning out, and waits for results of tools where there are calls', async () => {
    const worker = new ScriptedWorker(answers('<think>Hm.</think>\n\nIt rains.'));
    const gateway = await start(worker);
    const { choices } = await chat(gateway, {});
    expect(choices[0]?.message.content).to.match(/^\s*It rains\.$/);
    expect(await foreseen(worker)).to.equal(`<user>What is it like?<assistant>${choices[0]?.message.content}<user>`);
    worker.script = answers(`Let me see.\n${hermesCall('get_weather', { city: 'Ghent' })}`);
    await chat(gateway, { tools: [weatherTool] });
    expect(await foreseen(worker, 3)).to.match(/<assistant>Let me see\.\s*<tool>$/);
  });

  it('is the text itself where there is no conversation', async () => {
    const worker = new ScriptedWorker(answers('abc'));
    const gateway = await start(worker);
    const body = { model: 'test-model', prompt: 'x'.repeat(20), max_tokens: 3, nvext: speculative };
    expect((await gateway.post('/v1/completions', body)).status).to.equal(200);
    expect(await foreseen(worker)).to.equal(`${'x'.repeat(20)}abc`);
  });

  it('is nothing where it was not asked for, after an error, and after the last turn', async () => {
    const worker = new ScriptedWorker(answers('It rains.'));
    const gateway = await start(worker);
    await chat(gateway, { nvext: {} });
    await chat(gateway, {}, { 'x-stator-session-id': 's', 'x-stator-session-final': 'true' });
    const counted = { agent_hints: { speculative_prefill: true, prefix_id: 'p', total_requests: 1 } };
    await chat(gateway, { nvext: counted });
    worker.script = (sequence) => sequence.fail('engine_failed', 'broken', false);
    const body = { model: 'test-model', messages: question, nvext: speculative };
    expect((await gateway.post('/v1/chat/completions', body)).status).to.equal(500);
    worker.script = answers('It rains.');
    await chat(gateway, {});
    await done(gateway, 'done');
    expect(worker.sequences).to.have.length(6);
    expect(await outcomes(gateway)).to.deep.equal({ done: 1 });
  });

  it('is given up when the turn comes itself, or clients need the workers', async () => {
    const worker = new ScriptedWorker(answers('It rains.', { isHeld: true }));
    const gateway = await start(worker, { speculativePrefillMaxLoad: 1 });
    const session = { 'x-stator-session-id': 's' };
    await chat(gateway, {}, session);
    const early = await worker.sequence(1);
    await chat(gateway, { nvext: {} }, session);
    await done(gateway, 'cancelled_superseded');
    expect(early.cancelled).to.equal(true);

    await chat(gateway, {}, session);
    const next = await worker.sequence(4);
    expect(next.cancelled).to.equal(false);
    worker.script = null;
    const running = [chat(gateway, { nvext: {} }), chat(gateway, { nvext: {} })];
    await done(gateway, 'cancelled_load');
    expect(next.cancelled).to.equal(true);
    for (const index of [5, 6]) answering('ok')(await worker.sequence(index));
    await Promise.all(running);
  });

  it('is dropped where too many are under way, too much runs, or too little is won', async () => {
    const worker = new ScriptedWorker(answers('It rains.', { isHeld: true }));
    const gateway = await start(worker, { speculativePrefills: 1 });
    await chat(gateway, {});
    await worker.sequence(1);
    await chat(gateway, {});
    await done(gateway, 'dropped_full');

    const loaded = new ScriptedWorker();
    const busy = await start(loaded, { speculativePrefillMaxLoad: 0.5 });
    const running = chat(busy, { nvext: {} });
    const held = await loaded.sequence(0);
    loaded.script = answers('It rains.');
    await chat(busy, {});
    await done(busy, 'dropped_load');
    answering('ok')(held);
    await running;

    const short = await start(new ScriptedWorker(answers('a')));
    const body = { model: 'test-model', prompt: 'x', max_tokens: 1, nvext: speculative };
    expect((await short.post('/v1/completions', body)).status).to.equal(200);
    await done(short, 'dropped_short');
  });

  describe('is charged to whose turn it was', () => {
    let directory = '';
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'stator-speculation-'));
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    const headers = { authorization: 'Bearer right' };
    const caller = { ...unlimited, id: 'a', tenant: 'a', tokensPerDay: 1000 };
    const hash = `sha256:${createHash('sha256').update('right').digest('hex')}`;

    async function startFor(worker: ScriptedWorker, key: object, more: Partial<GatewayConfig> = {}): Promise<Harness> {
      const apiKeysFile = join(directory, 'keys.yaml');
      writeFileSync(apiKeysFile, JSON.stringify({ keys: [{ id: 'a', hash, ...key }] }));
      return start(worker, { apiKeysFile, apiKeysReloadSeconds: 0.05, ...more });
    }

    async function fits(gateway: Harness, tokens: number): Promise<boolean> {
      try {
        await gateway.context.access.tenants.limits.spend(caller, tokens);
        return true;
      } catch {
        return false;
      }
    }

    /** Waits until exactly so many tokens of the budget are used. */
    const used = (gateway: Harness, tokens: number): Promise<unknown> =>
      until(async () => (await fits(gateway, 1000 - tokens)) && !(await fits(gateway, 1001 - tokens)));

    const outcome = (gateway: Harness, name: string): Promise<unknown> =>
      until(async () =>
        (await gateway.context.telemetry.metrics.metrics()).includes(
          `stator_gateway_speculative_prefills_total{outcome="${name}"} 1`,
        ),
      );

    it('with all its tokens, also where it is given up', async () => {
      const worker = new ScriptedWorker(answers('It rains.'));
      const gateway = await startFor(worker, { tokens_per_day: 1000 });
      await chat(gateway, {}, headers);
      const [turn, next] = [await worker.sequence(0), await worker.sequence(1)];
      const first = turn.request.tokenIds.length + 'It rains.'.length + next.request.tokenIds.length + 1;
      await used(gateway, first);

      worker.script = answers('It rains.', { isHeld: true });
      const session = { ...headers, 'x-stator-session-id': 's' };
      await chat(gateway, {}, session);
      await worker.sequence(3);
      await chat(gateway, { nvext: {} }, session);
      await outcome(gateway, 'cancelled_superseded');
      const plain = turn.request.tokenIds.length + 'It rains.'.length;
      await used(gateway, first + 2 * plain + next.request.tokenIds.length);
    });

    it('and not begun where it is more than they have left', async () => {
      const worker = new ScriptedWorker(answers('It rains.'));
      // The turn fits, and what comes next does not.
      const gateway = await startFor(worker, { tokens_per_day: 40 });
      await chat(gateway, {}, headers);
      await outcome(gateway, 'dropped_limits');
      expect(worker.sequences).to.have.length(1);
    });

    it('and not begun where they may no longer call', async () => {
      const worker = new ScriptedWorker();
      const gateway = await startFor(worker, {});
      const answer = chat(gateway, {}, headers);
      const sequence = await worker.sequence(0);
      writeFileSync(join(directory, 'keys.yaml'), JSON.stringify({ keys: [] }));
      await until(() => gateway.context.access.tenants.counts.keys === 0);
      worker.script = answers('It rains.');
      answering('It rains.')(sequence);
      await answer;
      await outcome(gateway, 'dropped_limits');
      expect(worker.sequences).to.have.length(1);
    });
  });

  it('fails without anybody noticing, and leaves its place to others', async () => {
    const worker = new ScriptedWorker((sequence) => {
      if (sequence.request.requestId.endsWith('/next')) sequence.fail('engine_failed', 'broken', false);
      else answering('It rains.')(sequence);
    });
    const gateway = await start(worker, { speculativePrefills: 1 });
    for (let turn = 1; turn <= 3; turn++) {
      await chat(gateway, {});
      await until(async () => (await outcomes(gateway))['failed'] === turn);
    }
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).to.match(/^stator_gateway_speculative_prefills 0$/m);
    expect(metrics).not.to.match(/status="error"/);
  });

  it('is given up when it takes too long, and refused where it is switched off', async () => {
    const worker = new ScriptedWorker(answers('It rains.', { isHeld: true }));
    const gateway = await start(worker, { speculativePrefillTimeoutSeconds: 0.05 });
    await chat(gateway, {});
    await done(gateway, 'cancelled_late');
    const off = await start(new ScriptedWorker(answers('It rains.')), { speculativePrefills: 0 });
    const refused = await off.post('/v1/chat/completions', {
      model: 'test-model',
      messages: question,
      nvext: speculative,
    });
    const { error } = (await refused.json()) as { error: object };
    expect(error).to.include({ code: 'unsupported', param: 'nvext.agent_hints.speculative_prefill' });
  });
});
