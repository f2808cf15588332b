import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect } from 'chai';
import { pino } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayConfig } from '../config.ts';
import { type Harness, startHarness } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { hermesCall, toolCard, weatherTool } from '../testing/tool-chats.ts';
import { until } from '../testing/until.ts';
import { digestOfSession } from './redact.ts';
import { RotatingLines } from './request-trace/rotating-lines.ts';

interface Recorded {
  readonly schema: string;
  readonly event_type: string;
  readonly agent_context?: Record<string, unknown>;
  readonly request?: Record<string, unknown> & {
    readonly finish_reason_metadata: {
      finish_reason: string;
      error?: string;
      tool_calls?: { id: string; name: string }[];
    };
    readonly replay: { trace_block_size: number; input_length: number; input_sequence_hashes: number[] };
  };
  readonly tool?: Record<string, unknown>;
}

const user = { role: 'user', content: 'The secret weather of Ghent?' };

describe('turns of agents', () => {
  let folder: string;
  let gateway: Harness;
  let worker: ScriptedWorker;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'stator-agents-'));
  });

  afterEach(async () => {
    await gateway[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  async function start(config: Partial<GatewayConfig> = {}): Promise<void> {
    worker = new ScriptedWorker(answering('ok'));
    gateway = await startHarness({ requestTrace: path.join(folder, 'trace.jsonl'), ...config });
    gateway.addWorker(1n, worker, toolCard());
  }

  async function chat(change: object, headers: Record<string, string> = {}): Promise<Response> {
    const body = { model: 'test-model', messages: [user], max_tokens: 400, ...change };
    return gateway.post('/v1/chat/completions', body, { headers: { 'content-type': 'application/json', ...headers } });
  }

  async function recorded(count: number): Promise<Recorded[]> {
    const file = path.join(folder, 'trace.jsonl');
    await until(async () => (await readFile(file, 'utf8')).split('\n').length > count);
    const text = await readFile(file, 'utf8');
    expect(text, 'nothing that was said').not.to.match(/secret|Ghent|get_weather/);
    return text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { event: Recorded }).event);
  }

  it('are recorded with lengths, times and sessions, and without what was said', async () => {
    await start();
    const agent = { 'x-claude-code-session-id': 'private-session', 'x-claude-code-agent-id': 'child' };
    expect((await chat({}, agent)).status).to.equal(200);
    const [one] = await recorded(1);
    expect(one).to.include({ schema: 'dynamo.request.trace.v1', event_type: 'request_end' });
    expect(one?.agent_context).to.deep.equal({
      session_id: digestOfSession('child'),
      parent_session_id: digestOfSession('private-session'),
      input_trigger: 'user_message',
    });
    expect(one?.request).to.include({ model: 'test-model', output_tokens: 2, cached_tokens: 0 });
    expect(one?.request?.finish_reason_metadata).to.deep.equal({ finish_reason: 'stop' });
    expect(one?.request?.replay).to.include({ trace_block_size: 16, input_length: one?.request?.['input_tokens'] });
  });

  it('tell when tools start and end, whoever the agent is', async () => {
    await start();
    worker.script = answering(hermesCall('get_weather', { city: 'Ghent' }));
    const session = { 'thread-id': 'thread' };
    const first = (await (await chat({ tools: [weatherTool] }, session)).json()) as {
      choices: [{ message: { tool_calls: [{ id: string }] } }];
    };
    const { message } = first.choices[0];
    const [{ id }] = message.tool_calls;
    worker.script = answering('It rains.');
    const result = { role: 'tool', tool_call_id: id, content: 'secret' };
    expect((await chat({ messages: [user, message, result] }, session)).status).to.equal(200);
    const records = await recorded(4);
    expect(records.map((one) => one.event_type)).to.deep.equal([
      'request_end',
      'tool_start',
      'tool_end',
      'request_end',
    ]);
    const [asked, started, ended, answered] = records;
    const name = digestOfSession('get_weather');
    expect(asked?.request?.finish_reason_metadata).to.deep.equal({
      finish_reason: 'tool_calls',
      tool_calls: [{ choice_index: 0, tool_call_index: 0, id, name }],
    });
    expect(started?.tool).to.include({ tool_call_id: id, status: 'running', tool_name_hash: name });
    expect(ended?.tool).to.include({ tool_call_id: id, status: 'succeeded' });
    expect(ended?.tool?.['duration_ms']).to.be.a('number').that.is.at.least(0);
    expect(answered?.agent_context).to.deep.equal({
      session_id: digestOfSession('thread'),
      input_trigger: 'tool_result',
    });
    const account = gateway.context.agents.accounts.get('', 'thread');
    expect(account).to.include({ requests: 2, toolCalls: 1, toolResults: 1, running: 0, failed: 0 });
  });

  it('have accounts of what they used', async () => {
    await start();
    worker.script = (sequence) => {
      sequence.prefilled(16);
      sequence.tokens('It rains.');
      sequence.finish();
    };
    for (const id of ['a', 'a', 'b']) await chat({}, { 'x-session-id': id, 'x-parent-session-id': 'p' });
    worker.script = (sequence) => sequence.fail('engine_failed', 'broken', false);
    await chat({}, { 'x-session-id': 'a' });
    const account = gateway.context.agents.accounts.get('', 'a');
    const prompt = worker.sequences[0]?.request.tokenIds.length ?? 0;
    expect(account).to.include({ source: 'opencode', parentSessionId: 'p', requests: 3, failed: 1, running: 0 });
    expect(account).to.include({ promptTokens: 3 * prompt, cachedTokens: 32, outputTokens: 2 * 9 });
    expect(gateway.context.agents.accounts.size).to.equal(2);
  });

  it('leave nobody running, whichever way they end', async () => {
    await start();
    worker.script = null;
    const clients = Array.from({ length: 24 }, () => new AbortController());
    const body = JSON.stringify({ model: 'test-model', messages: [user], stream: true });
    const answers = clients.map(({ signal }, index) =>
      gateway.post('/v1/chat/completions', body, {
        headers: { 'content-type': 'application/json', 'x-stator-session-id': `s${index % 3}` },
        signal,
      }),
    );
    for (const answer of answers) answer.catch(() => {});
    await until(() => worker.sequences.length === clients.length);
    const running = () => [0, 1, 2].map((id) => gateway.context.agents.accounts.get('', `s${id}`)?.running ?? 0);
    expect(running()).to.deep.equal([8, 8, 8]);
    // A third leaves, a third fails, a third is answered; which sequence is whose does not matter.
    for (const client of clients.slice(0, 8)) client.abort();
    await until(() => worker.running.size === 16);
    for (const [index, sequence] of [...worker.running].entries()) {
      if (index % 2 === 0) sequence.fail('engine_failed', 'broken', false);
      else answering('ok')(sequence);
    }
    await until(() => running().every((count) => count === 0));
    const accounts = [0, 1, 2].map((id) => gateway.context.agents.accounts.get('', `s${id}`));
    const sum = (of: 'requests' | 'failed') => accounts.reduce((total, account) => total + (account?.[of] ?? 0), 0);
    expect([sum('requests'), sum('failed')]).to.deep.equal([24, 16]);
    await Promise.allSettled(answers.map(async (answer) => (await answer).text()));
  });

  it('tell of tools in whatever API the agent speaks', async () => {
    await start();
    const call = answering(hermesCall('get_weather', { city: 'Ghent' }));
    const headers = (id: string) => ({ 'content-type': 'application/json', 'x-stator-session-id': id });
    const post = async (where: string, id: string, body: object): Promise<unknown> => {
      const response = await gateway.post(where, { model: 'test-model', ...body }, { headers: headers(id) });
      expect(response.status, await response.clone().text()).to.equal(200);
      return response.json();
    };
    worker.script = call;
    const { function: tool } = weatherTool;
    const messages = { max_tokens: 400, tools: [{ name: tool.name, input_schema: tool.parameters }] };
    const asked = (await post('/v1/messages', 'anthropic', { ...messages, messages: [user] })) as {
      content: { type: string; id: string }[];
    };
    const use = asked.content.find(({ type }) => type === 'tool_use');
    const response = { tools: [{ type: 'function', name: tool.name, parameters: tool.parameters }], store: false };
    const first = (await post('/v1/responses', 'responses', { ...response, input: 'Weather?' })) as {
      output: { type: string; call_id: string; name: string; arguments: string }[];
    };
    const called = first.output.find(({ type }) => type === 'function_call');
    worker.script = answering('It rains.');
    const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: use?.id, content: 'secret' }] };
    const turns = [user, { role: 'assistant', content: asked.content }, result];
    await post('/v1/messages', 'anthropic', { ...messages, messages: turns });
    const output = { type: 'function_call_output', call_id: called?.call_id, output: 'secret' };
    const input = [{ role: 'user', content: 'Weather?' }, ...first.output, output];
    await post('/v1/responses', 'responses', { ...response, input });
    const ended = (await recorded(8)).filter((one) => one.event_type === 'tool_end');
    expect(ended.map((one) => one.tool?.['tool_call_id'])).to.deep.equal([use?.id, called?.call_id]);
    for (const id of ['anthropic', 'responses'])
      expect(gateway.context.agents.accounts.get('', id), id).to.include({ toolCalls: 1, toolResults: 1 });
  });

  it('are each tenant’s own, as is what is computed for them in advance', async () => {
    const hashOf = (name: string) => `sha256:${createHash('sha256').update(`key-${name}`).digest('hex')}`;
    const keys = ['one', 'two'].map((name) => ({ id: name, hash: hashOf(name) }));
    const file = path.join(folder, 'keys.json');
    await writeFile(file, JSON.stringify({ keys }));
    await start({ apiKeysFile: file });
    const as = (name: string) => ({ authorization: `Bearer key-${name}` });
    const nvext = { agent_hints: { speculative_prefill: true } };
    const answer = await chat({ nvext }, { ...as('one'), 'x-stator-session-id': 'same' });
    expect(answer.status, await answer.text()).to.equal(200);
    expect((await chat({}, { ...as('two'), 'x-stator-session-id': 'same' })).status).to.equal(200);
    await until(() => worker.sequences.length === 3);
    const saltOf = (isOwn: (id: string) => boolean) =>
      worker.sequences.find(({ request }) => isOwn(request.requestId))?.request.cache?.cacheSalt;
    const salt = worker.sequences[0]?.request.cache?.cacheSalt;
    expect(salt).to.be.a('string').with.length.greaterThan(10);
    expect(saltOf((id) => id.endsWith('/next'))).to.equal(salt);
    for (const name of ['one', 'two']) {
      const list = await fetch(`${gateway.url}/v1/agents/sessions`, { headers: as(name) });
      const { data, sessions } = (await list.json()) as { data: { requests: number }[]; sessions: number };
      expect([sessions, data.length, data[0]?.requests]).to.deep.equal([1, 1, 1]);
    }
    expect((await fetch(`${gateway.url}/v1/agents/sessions`)).status).to.equal(401);
  });

  it('are shown to whom they belong, under names that tell nobody anything', async () => {
    await start();
    for (const id of ['a/1', 'b']) await chat({}, { 'x-stator-session-id': id });
    const get = async (of: string) => {
      const response = await fetch(`${gateway.url}/v1/agents/sessions${of}`);
      return [response.status, await response.json()] as const;
    };
    const [, list] = await get('?limit=1');
    expect(list).to.deep.include({ object: 'list', sessions: 2 });
    const { data } = list as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).to.deep.equal([digestOfSession('b')]);
    const [status, one] = await get('/a%2F1');
    expect(status).to.equal(200);
    expect(one).to.include({ object: 'agent.session', requests: 1, source: 'stator', parent_id: null, running: 0 });
    expect((await get('/c'))[0]).to.equal(404);
    expect((await get('?limit=0'))[0]).to.equal(400);
    const state = (await (await fetch(`${gateway.url}/console/state`)).json()) as { sessions: { id: string }[] };
    expect(state.sessions.map(({ id }) => id)).to.deep.equal([digestOfSession('b'), digestOfSession('a/1')]);
  });

  it('are named as clients name them where that is wanted', async () => {
    await start({ sessionIds: 'plain' });
    await chat({}, { 'x-stator-session-id': 's', 'x-stator-session-final': 'true' });
    expect((await recorded(1))[0]?.agent_context).to.deep.equal({
      session_id: 's',
      session_final: true,
      input_trigger: 'user_message',
    });
  });

  it('are no requests to replay where they have no output, or several', async () => {
    await start();
    worker.script = (sequence) => sequence.fail('engine_failed', 'broken', false);
    expect((await chat({})).status).to.equal(500);
    worker.script = answering('ok');
    await chat({ n: 2 });
    await chat({});
    const records = await recorded(2);
    expect(records.map((one) => one.event_type)).to.deep.equal(['request_failed', 'request_end']);
    expect(records[0]?.request?.finish_reason_metadata).to.deep.equal({
      finish_reason: 'error',
      error: 'engine_failed',
    });
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).to.include('stator_gateway_request_trace_lost_total{why="not_replayable"} 1');
  });

  it('count the latencies that clients aim at', async () => {
    await start();
    await chat({ nvext: { router: { ttft_target: 60_000, itl_target: 0.000001 } } });
    await chat({ nvext: { router: { ttft_target: 0.000001 } } });
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    for (const line of [
      'stator_gateway_latency_targets_total{target="ttft",outcome="kept"} 1',
      'stator_gateway_latency_targets_total{target="ttft",outcome="missed"} 1',
    ])
      expect(metrics).to.include(line);
  });
});

describe('lines that rotate', () => {
  let folder: string;
  let lost: string[];

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'stator-lines-'));
    lost = [];
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  const open = (o: { maxBytes?: number; maxFiles?: number; maxWaiting?: number; file?: string } = {}): RotatingLines =>
    new RotatingLines({
      ...{ file: path.join(folder, 'lines'), maxBytes: 1000, maxFiles: 3, maxWaiting: 100 },
      ...o,
      onLost: (why, count) => lost.push(`${why} ${count}`),
      log: pino({ level: 'silent' }),
    });
  const read = (name: string): Promise<string> => readFile(path.join(folder, name), 'utf8').catch(() => 'none');

  it('put files aside and keep so many', async () => {
    const lines = open({ maxBytes: 10 });
    for (const text of ['one......', 'two......', 'three....', 'four.....']) {
      lines.push(text);
      await until(async () => (await read('lines')).includes(text));
    }
    await lines.close();
    expect(await Promise.all(['lines', 'lines.1', 'lines.2', 'lines.3'].map(read))).to.deep.equal([
      'four.....\n',
      'three....\n',
      'two......\n',
      'none',
    ]);
  });

  it('are packed where the name says so, and keep their end', async () => {
    const file = path.join(folder, 'trace.jsonl.gz');
    const lines = open({ file, maxBytes: 60 });
    const text = (): Promise<string> => readFile(file).then((bytes) => gunzipSync(bytes).toString());
    lines.push('{"a":1}');
    await until(async () => (await text().catch(() => '')) === '{"a":1}\n');
    lines.push('{"b":2}');
    await until(async () => (await text().catch(() => '')) === '{"a":1}\n{"b":2}\n');
    lines.push('{"c":3}');
    await lines.close();
    expect(await text()).to.equal('{"c":3}\n');
    const aside = await readFile(path.join(folder, 'trace.1.jsonl.gz'));
    expect(gunzipSync(aside).toString()).to.equal('{"a":1}\n{"b":2}\n');
  });

  it('begin anew where one file is kept, and go on where there is one already', async () => {
    await writeFile(path.join(folder, 'lines'), 'old\n');
    const lines = open({ maxBytes: 10, maxFiles: 1 });
    lines.push('new');
    await until(async () => (await read('lines')) === 'old\nnew\n');
    lines.push('newer');
    await lines.close();
    expect(await read('lines')).to.equal('newer\n');
  });

  it('are lost, and counted, where too many wait or nothing can be written', async () => {
    const lines = open({ maxWaiting: 2 });
    for (let line = 0; line < 5; line++) lines.push(`${line}`);
    await lines.close();
    expect(await read('lines')).to.equal('0\n1\n');
    expect(lost).to.deep.equal(['queue_full 1', 'queue_full 1', 'queue_full 1']);
    lines.push('late');
    expect(lost).to.have.length(4);
  });

  it('are refused where there is no such place', () => {
    expect(() => open({ file: path.join(folder, 'none', 'lines') })).to.throw(StatorError, 'cannot be written');
  });

  it('go on once the disk takes them again', async () => {
    const lines = open({ maxBytes: 4 });
    lines.push('one');
    await until(async () => (await read('lines')) === 'one\n');
    await rm(folder, { recursive: true });
    lines.push('two');
    await until(() => lost.length > 0);
    const { mkdir } = await import('node:fs/promises');
    await mkdir(folder);
    lines.push('three');
    await lines.close();
    expect(await read('lines')).to.equal('three\n');
    expect(lost).to.deep.equal(['write_failed 1']);
  });
});
