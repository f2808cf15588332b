import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { encode } from '@msgpack/msgpack';
import { expect } from 'chai';
import { Push } from 'zeromq';
import { runStator } from '#cli/stator.test-support.ts';
import { parseReportJson } from '#sim/report/report-json.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { until } from '../support/until.ts';

type Headers = Record<string, string>;

interface Answer {
  readonly choices: readonly { readonly message: { readonly role: string; readonly content: string } }[];
  readonly usage: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details?: { readonly cached_tokens: number };
  };
  readonly nvext: { readonly worker_id: { readonly decode_worker_id: string } };
}

interface Recorded {
  readonly event: {
    readonly event_type: string;
    readonly event_source: string;
    readonly agent_context?: { readonly session_id: string };
    readonly tool?: object;
  };
}

const blockSize = 16;

describe('agents', function () {
  this.timeout(180_000);
  let folder: string;
  let trace: string;
  let cluster: Cluster;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'stator-agents-'));
    trace = path.join(folder, 'trace.jsonl');
    const worker = { engine: 'mocker', settings: { model: 'm', blockSize, stepMs: 1, contextLength: 8192 } } as const;
    cluster = await startCluster({
      workers: [worker, worker],
      gateway: { requestTrace: trace, toolEventsEndpoint: `ipc://${folder}/tools` },
    });
    await until('the gateway reaches both workers', async () => {
      const health = (await (await fetch(`${cluster.url}/health`)).json()) as { instances: { session: string }[] };
      return health.instances.filter(({ session }) => session === 'ready').length === 2;
    });
  });

  after(async () => {
    await cluster?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('find the next turn computed where they asked for it', async () => {
    const cachedOf = async (name: string, hints: object): Promise<number> => {
      const headers = { 'x-stator-session-id': name };
      const question = { role: 'user', content: `${name}: what is the harbour like? `.repeat(8) };
      const before = await outcome('done');
      const first = await chat({ messages: [question], max_tokens: 80, ...hints }, headers);
      if ('nvext' in hints) await until('it is computed', async () => (await outcome('done')) === before + 1);
      const messages = [question, first.choices[0]?.message, { role: 'user', content: 'And now?' }];
      const next = await chat({ messages }, headers);
      expect(next.nvext.worker_id).to.deep.equal(first.nvext.worker_id);
      return next.usage.prompt_tokens - (next.usage.prompt_tokens_details?.cached_tokens ?? 0);
    };
    const plain = await cachedOf('plain', {});
    const foreseen = await cachedOf('ahead', { nvext: { agent_hints: { speculative_prefill: true } } });
    // What is left to compute are the new words and less than a block before them.
    expect(foreseen).to.be.below(plain);
    expect(foreseen).to.be.at.most('And now?'.length + 2 * blockSize);
  });

  it('stay on one worker by the headers that they send themselves', async () => {
    const agents: readonly Headers[] = [
      { 'x-claude-code-session-id': 's1' },
      { 'x-claude-code-session-id': 's1', 'x-claude-code-agent-id': 'child' },
      { 'thread-id': 't1' },
      { session_id: 'old' },
      { 'x-session-id': 'o1' },
      { 'x-dynamo-session-id': 'd1' },
    ];
    for (const [index, headers] of agents.entries()) {
      const workers = new Set<string>();
      for (let turn = 0; turn < 4; turn++) {
        // Different prompts: only the session keeps them together.
        const { nvext } = await chat(
          { messages: [{ role: 'user', content: `${index} ${turn} `.repeat(60) }] },
          headers,
        );
        workers.add(nvext.worker_id.decode_worker_id);
      }
      expect(workers.size, JSON.stringify(headers)).to.equal(1);
    }
  });

  it('share cached prompts with their subagents unless they are to be apart', async () => {
    const messages = [{ role: 'user', content: 'The rules of this house. '.repeat(20) }];
    const parent = { 'x-stator-session-id': 'house' };
    const child = (id: string, more: Headers = {}): Headers => ({
      ...{ 'x-stator-session-id': id, 'x-stator-parent-session-id': 'house' },
      ...more,
    });
    // One worker, so that only salts can keep them apart.
    const pinned = {
      'x-stator-worker-instance-id': (await chat({ messages }, parent)).nvext.worker_id.decode_worker_id,
    };
    const cached = async (headers: Headers): Promise<number> =>
      (await chat({ messages }, { ...headers, ...pinned })).usage.prompt_tokens_details?.cached_tokens ?? 0;
    const isolated = { 'x-stator-kv-isolation': 'subagent' };
    expect(await cached(child('shared'))).to.be.greaterThan(300);
    expect(await cached(child('apart', isolated))).to.equal(0);
    expect(await cached(child('apart', isolated))).to.be.greaterThan(300);
    expect(await cached(child('other', isolated))).to.equal(0);
    expect(await cached({ ...parent, ...isolated })).to.be.greaterThan(300);
  });

  it('leave a trace that replay reads back', async () => {
    const file = path.join(folder, 'copy.jsonl');
    const sessions = ['a', 'b', 'c'];
    const before = await settled();
    let tokens = 0;
    for (let turn = 1; turn <= 4; turn++) {
      const answers = sessions.map((id) => {
        const messages = [{ role: 'user', content: `${id} `.repeat(200 * turn) }];
        return chat({ messages, max_tokens: 20, ignore_eos: true }, { 'x-dynamo-session-id': id });
      });
      for (const { usage } of await Promise.all(answers)) tokens += usage.prompt_tokens;
    }
    await chat({ messages: [{ role: 'user', content: 'No session at all.' }], max_tokens: 5, ignore_eos: true });
    const rows = await until('it is recorded', async () => {
      const found = (await recorded()).slice(before);
      return found.length === 13 && found;
    });
    expect(new Set(rows.map(({ event }) => event.agent_context?.session_id)).size).to.equal(4);
    // Lines as they are: hashes of 64 bits do not survive being parsed.
    const lines = (await readFile(trace, 'utf8')).trim().split('\n').slice(before);
    await writeFile(file, `${lines.join('\n')}\n`);
    const engine = ['--num-workers', '2', '--block-size', String(blockSize), '--context-length', '8192'];
    const run = await runStator(['replay', file, '--trace-format', 'dynamo', ...engine, '--report-json', '-']);
    expect(run.code, run.stderr).to.equal(0);
    const report = parseReportJson(run.stdout, 'report');
    expect(report.requests).to.include({ sent: 13, completed: 13, failed: 0, rejected: 0 });
    const last = JSON.parse(lines.at(-1) ?? '') as { event: { request: { input_tokens: number } } };
    expect(report.cache.promptTokens).to.equal(tokens + last.event.request.input_tokens);
    // Each turn repeats the one before, in the trace's hashes as it did in the prompts.
    expect(report.cache.tokenHitRate).to.be.greaterThan(0.4);
    const drawn = await runStator(['replay', 'timeline', file]);
    expect(drawn.code, drawn.stderr).to.equal(0);
    const { traceEvents } = JSON.parse(drawn.stdout) as { traceEvents: { name: string }[] };
    expect(traceEvents.filter(({ name }) => name === 'prefill')).to.have.length(13);
  });

  it('push what their tools do into the same trace', async () => {
    const socket = new Push();
    socket.connect(`ipc://${folder}/tools`);
    const event = {
      schema: 'dynamo.request.trace.v1',
      event_type: 'tool_end',
      event_time_unix_ms: 1777312801500,
      session_id: 'research:1',
      parent_session_id: 'research',
      tool: { tool_call_id: 'call-abc', tool_class: 'web_search', status: 'ok', duration_ms: 420.5, unknown: [1, {}] },
    };
    const send = (topic: string, payload: object): Promise<void> =>
      socket.send([topic, Buffer.alloc(8), Buffer.from(encode(payload))]);
    await send('another-topic', event);
    await send('agent-tool-events', { ...event, tool: { status: 'ok' } });
    await send('agent-tool-events', event);
    const found = await until('it is recorded', async () =>
      (await recorded()).find((row) => row.event.event_source === 'harness'),
    );
    socket.close();
    expect(found.event).to.include({ event_type: 'tool_end' });
    expect(found.event.tool).to.deep.equal({
      tool_call_id: 'call-abc',
      tool_class: 'web_search',
      status: 'succeeded',
      duration_ms: 420.5,
    });
    expect(await metric(/^stator_gateway_tool_events_total\{event="garbled",origin="harness"\} (\d+)/m)).to.equal(1);
    expect(await metric(/^stator_gateway_tool_events_total\{event="tool_end",origin="harness"\} (\d+)/m)).to.equal(1);
  });

  async function chat(change: object, headers: Headers = {}): Promise<Answer> {
    const { nvext = {}, ...rest } = change as { nvext?: object };
    const body = { model: 'm', max_tokens: 4, ...rest, nvext: { ...nvext, extra_fields: ['worker_id'] } };
    const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body), headers);
    expect(answer.status, answer.text).to.equal(200);
    return JSON.parse(answer.text) as Answer;
  }

  async function recorded(): Promise<Recorded[]> {
    const text = await readFile(trace, 'utf8');
    // The last line may be half written.
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Recorded);
  }

  /** Lines of the trace, once all that was counted is written. */
  async function settled(): Promise<number> {
    return until('the trace is written', async () => {
      const page = await (await fetch(`${cluster.url}/metrics`)).text();
      const counts = page.matchAll(/^stator_gateway_request_trace_records_total\{\S+ (\d+)$/gm);
      const total = [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
      return total > 0 && (await recorded()).length === total && total;
    });
  }

  function outcome(name: string): Promise<number> {
    return metric(new RegExp(`^stator_gateway_speculative_prefills_total\\{outcome="${name}"\\} (\\d+)`, 'm'));
  }

  async function metric(line: RegExp): Promise<number> {
    return Number(line.exec(await (await fetch(`${cluster.url}/metrics`)).text())?.[1] ?? 0);
  }
});

describe('agents whose prompts and answers come from workers apart', function () {
  this.timeout(180_000);
  let cluster: Cluster;

  before(async () => {
    const engine = { model: 'm', blockSize, stepMs: 1, kvBlockBytes: 1024, contextLength: 8192 };
    const workers = (['prefill', 'decode'] as const).map((role) => ({
      engine: 'mocker' as const,
      settings: { ...engine, role },
    }));
    cluster = await startCluster({ workers });
  });

  after(() => cluster?.stop());

  it('have their answers computed where the next prompt is', async () => {
    const question = { role: 'user', content: 'What is the harbour like? '.repeat(8) };
    const next = async (nvext: object): Promise<number> => {
      const cache_salt = `${JSON.stringify(nvext)}`;
      const ask = async (messages: readonly unknown[], hints: object): Promise<Answer> => {
        const body = { model: 'm', messages, max_tokens: 120, ignore_eos: true, cache_salt, nvext: hints };
        const answer = await post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
        expect(answer.status, answer.text).to.equal(200);
        return JSON.parse(answer.text) as Answer;
      };
      const { choices } = await ask([question], nvext);
      if (cache_salt !== '{}')
        await until('it is computed', async () =>
          (await (await fetch(`${cluster.url}/metrics`)).text()).includes('prefills_total{outcome="done"} 1'),
        );
      const { usage } = await ask([question, choices[0]?.message, { role: 'user', content: 'And now?' }], {});
      return usage.prompt_tokens - (usage.prompt_tokens_details?.cached_tokens ?? 0);
    };
    const plain = await next({});
    const foreseen = await next({ agent_hints: { speculative_prefill: true } });
    // The worker of prompts has not seen the answer of 120 tokens.
    expect(plain).to.be.greaterThan(120);
    expect(foreseen).to.be.at.most('And now?'.length + 2 * blockSize);
  });
});

describe('agents that wait for one worker', function () {
  this.timeout(180_000);
  let cluster: Cluster;

  before(async () => {
    const settings = { model: 'm', maxSequences: 1, stepMs: 20 };
    cluster = await startCluster({ workers: [{ engine: 'mocker', settings }] });
  });

  after(() => cluster?.stop());

  it('are served by priority, whichever way they say it', async () => {
    const running = new AbortController();
    const long = { model: 'm', prompt: 'first', max_tokens: 4000, ignore_eos: true, stream: true };
    const first = await fetch(`${cluster.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(long),
      signal: running.signal,
    });
    expect(first.status).to.equal(200);
    const order: string[] = [];
    const ask = async (name: string, nvext: object, headers: Headers = {}): Promise<void> => {
      const body = JSON.stringify({ model: 'm', prompt: name, max_tokens: 2, nvext });
      const { status, text } = await post(`${cluster.url}/v1/completions`, body, headers);
      expect(status, text).to.equal(200);
      order.push(name);
    };
    const waiting = [ask('low', { agent_hints: { priority: -5 } })];
    await queued(1);
    waiting.push(ask('usual', {}));
    await queued(2);
    waiting.push(ask('high', { agent_hints: { priority: 5 } }));
    await queued(3);
    waiting.push(ask('highest', {}, { 'x-dynamo-request-priority': '9' }));
    await queued(4);
    running.abort();
    await Promise.all(waiting);
    expect(order).to.deep.equal(['highest', 'high', 'usual', 'low']);
  });

  /** Waits until so many sequences wait in the worker. */
  function queued(count: number): Promise<unknown> {
    return until(`${count} wait`, async () => {
      const state = (await (await fetch(`${cluster.url}/console/state`)).json()) as {
        workers: { load: { queued: number } | null }[];
      };
      return state.workers[0]?.load?.queued === count;
    });
  }
});
