import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { freePort } from '#cli/free-port.test-support.ts';
import { post } from '../support/http.ts';
import { skip } from '../support/skip.ts';
import { streamChat } from '../support/sse.ts';
import { StatorProcess } from '../support/stator-process.ts';
import { until } from '../support/until.ts';

const MODEL = 'demo';

describe('stator up', function () {
  this.timeout(180_000);
  let cache: string;

  beforeEach(async () => {
    cache = await mkdtemp(path.join(os.tmpdir(), 'stator-up-'));
  });

  // Workers that were left behind end by themselves, and write until then.
  afterEach(() => rm(cache, { recursive: true, force: true, maxRetries: 50, retryDelay: 20 }));

  it('serves, prints a curl line that works, and ends with code 0 on Ctrl-C with nothing left behind', async () => {
    await using up = start();
    const url = await urlOf(up);
    expect(up.output).to.match(/curl .*\/v1\/chat\/completions/);
    const [, body = ''] = /-d '(\{.*\})'/.exec(up.output) ?? [];
    expect(JSON.parse(body)).to.include({ model: MODEL });
    const answer = await post(`${url}/v1/chat/completions`, body);
    expect(answer.status, answer.text).to.equal(200);
    expect(answer.text).to.include('data: [DONE]');
    const children = await childrenOf(up.pid);
    expect(await up.stop('SIGINT')).to.equal(0);
    expect(children.filter(isAlive)).to.deep.equal([]);
  });

  it('lets a running answer end on SIGTERM', async () => {
    await using up = start('--', '--step-ms', '20');
    const url = await urlOf(up);
    const messages = [{ role: 'user', content: 'hello' }];
    const running = streamChat(url, { model: MODEL, messages, max_tokens: 100, ignore_eos: true });
    await Promise.race([until('the answer begins', () => running.text !== ''), running.ended]);
    const stopped = up.stop('SIGTERM');
    const { usage } = await running.ended;
    expect(usage?.completion_tokens).to.equal(100);
    expect(await stopped).to.equal(0);
  });

  it('still has responses when it was ended at once and started again', async () => {
    const port = await freePort();
    await using up = start('--port', String(port));
    const body = JSON.stringify({ model: MODEL, input: 'Hi', max_output_tokens: 16 });
    const { id } = JSON.parse((await post(`${await urlOf(up)}/v1/responses`, body)).text) as { id: string };
    await up.stop('SIGKILL');
    await using next = start('--port', String(port));
    const again = await fetch(`${await urlOf(next)}/v1/responses/${id}`);
    expect(again.status).to.equal(200);
    expect(await again.json()).to.have.property('id', id);
  });

  it('serves with workers that compute prompts for those that decode', async () => {
    await using up = start('--prefill-replicas', '1', '--', '--kv-block-bytes', '4096');
    const content = 'A prompt of some blocks, which one worker computes and another one answers. '.repeat(8);
    const nvext = { extra_fields: ['worker_id'] };
    const answer = await ask(await urlOf(up), { messages: [{ role: 'user', content }], nvext });
    expect(answer.status, answer.text).to.equal(200);
    const parsed = JSON.parse(answer.text) as { nvext: { worker_id: Record<string, unknown> } };
    const { prefill_worker_id: prefill, decode_worker_id: decode } = parsed.nvext.worker_id;
    expect(prefill).to.be.a('string');
    expect(decode).to.be.a('string').and.not.equal(prefill);
  });

  it('starts a crashed worker again while the gateway lives on', async function () {
    if (process.platform !== 'linux') skip(this, 'children are found in /proc');
    await using up = start();
    const url = await urlOf(up);
    expect(await readdir(path.join(cache, 'stator', 'run'))).to.deep.equal([String(up.pid)]);
    const [worker = -1] = await childrenOf(up.pid);
    process.kill(worker, 'SIGKILL');
    await up.printed(/worker crashed; restarting/);
    await until('another worker runs', async () => {
      expect((await fetch(`${url}/live`)).status).to.equal(200);
      const [now] = await childrenOf(up.pid);
      return now !== undefined && now !== worker;
    });
    await until('it answers again', async () => (await ask(url)).status === 200, 30_000);
  });

  it('takes its worker and its block manager along when it is killed itself', async function () {
    if (process.platform !== 'linux') skip(this, 'children are found in /proc');
    await using up = start();
    await urlOf(up);
    const children = await childrenOf(up.pid);
    expect(children).to.have.length(2);
    await up.stop('SIGKILL');
    await until('both are gone', () => children.every((pid) => !isAlive(pid)));
  });

  it('names the busy port and the flag', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    try {
      const output = await failure('--port', String(port));
      expect(output).to.contain(`Port ${port}`).and.contain('--port');
    } finally {
      taken.close();
    }
  });

  it('shows why the worker does not start', async () => {
    const output = await failure('--', '--max-sequence', '1');
    expect(output).to.include('worker-0 ended with code 2').and.include('Did you mean --max-sequences?');
  });

  it('refuses an unknown setting and names the nearest', async () => {
    await using up = run('up', '--engin', 'mocker');
    expect(await up.exited).to.equal(2);
    expect(up.output).to.contain('--engine');
  });

  function run(...args: string[]): StatorProcess {
    return new StatorProcess(args, { env: { XDG_CACHE_HOME: cache, XDG_DATA_HOME: path.join(cache, 'data') } });
  }

  function start(...extra: string[]): StatorProcess {
    const port = extra.includes('--port') ? [] : ['--port', '0'];
    return run('up', '--engine', 'mocker', '--model-name', MODEL, ...port, ...extra);
  }

  /** What it says when it cannot begin. */
  async function failure(...extra: string[]): Promise<string> {
    await using up = start(...extra);
    expect(await up.exited, up.output).to.equal(1);
    return up.output;
  }
});

/** Where it serves, once it has said so. */
async function urlOf(up: StatorProcess): Promise<string> {
  const [, url = ''] = await up.printed(/URL +(\S+)\/v1[\s\S]*Ctrl-C stops/, 60_000);
  return url;
}

function ask(url: string, more: object = {}): ReturnType<typeof post> {
  const messages = [{ role: 'user', content: 'hello' }];
  return post(`${url}/v1/chat/completions`, JSON.stringify({ model: MODEL, messages, max_tokens: 4, ...more }));
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.trim().split(' ').filter(Boolean).map(Number);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
