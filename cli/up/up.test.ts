import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { freePort } from '../free-port.test-support.ts';
import { runStator, statorCommand } from '../stator.test-support.ts';

class Up {
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  output = '';

  constructor(flags: readonly string[], cache: string, port = 0) {
    // biome-ignore lint/style/noProcessEnv: a child process needs the machine's environment.
    const env = { ...process.env, XDG_CACHE_HOME: cache, XDG_DATA_HOME: join(cache, 'data') };
    const args = [
      ...statorCommand(),
      'up',
      '--engine',
      'mocker',
      '--port',
      String(port),
      '--shutdown-grace-seconds',
      '5',
      ...flags,
    ];
    this.child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk;
      });
    }
    this.exit = new Promise((resolve) => this.child.on('close', (code) => resolve(code)));
  }

  async url(): Promise<string> {
    for (;;) {
      const url = /URL +(\S+)\/v1/.exec(this.output)?.[1];
      if (url !== undefined && this.output.includes('Ctrl-C stops')) return url;
      if (this.child.exitCode !== null) throw new Error(`it ended:\n${this.output}`);
      await delay(20);
    }
  }
}

describe('stator up', function () {
  this.timeout(90_000);
  let cache: string;
  let up: Up | undefined;
  beforeEach(async () => {
    cache = await mkdtemp(join(tmpdir(), 'stator-up-'));
  });
  afterEach(async () => {
    up?.child.kill('SIGKILL');
    await up?.exit;
    up = undefined;
    // Workers that were left behind end by themselves, and write until then.
    await rm(cache, { recursive: true, force: true, maxRetries: 50, retryDelay: 20 });
  });

  it('serves, prints a curl line that works, and ends with 0 on Ctrl-C', async () => {
    up = new Up(['--model-name', 'demo'], cache);
    const url = await up.url();
    const body = /-d '(\{.*\})'/.exec(up.output)?.[1] ?? '';
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body });
    expect(JSON.parse(body)).to.include({ model: 'demo' });
    expect(response.status).to.equal(200);
    expect(await response.text()).to.include('data: [DONE]');
    up.child.kill('SIGINT');
    expect(await up.exit).to.equal(0);
  });

  it('still has responses when it was ended at once and started again', async () => {
    const port = await freePort();
    up = new Up(['--model-name', 'demo'], cache, port);
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ model: 'demo', input: 'Hi', max_output_tokens: 16 });
    const response = await fetch(`${await up.url()}/v1/responses`, { method: 'POST', headers, body });
    const { id } = (await response.json()) as { id: string };
    up.child.kill('SIGKILL');
    await up.exit;
    up = new Up(['--model-name', 'demo'], cache, port);
    const again = await fetch(`${await up.url()}/v1/responses/${id}`);
    expect(again.status).to.equal(200);
    expect(((await again.json()) as { id: string }).id).to.equal(id);
  });

  it('serves with workers that compute prompts for those that decode', async () => {
    up = new Up(['--prefill-replicas', '1', '--model-name', 'demo', '--', '--kv-block-bytes', '4096'], cache);
    const url = await up.url();
    const content = 'A prompt of some blocks, which one worker computes and another one answers. '.repeat(8);
    const nvext = { extra_fields: ['worker_id'] };
    const body = JSON.stringify({ model: 'demo', messages: [{ role: 'user', content }], max_tokens: 4, nvext });
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body });
    const answer = (await response.json()) as { nvext: { worker_id: Record<string, unknown> } };
    expect(response.status, JSON.stringify(answer)).to.equal(200);
    const { prefill_worker_id: prefill, decode_worker_id: decode } = answer.nvext.worker_id;
    expect(prefill).to.be.a('string');
    expect(decode).to.be.a('string').and.not.equal(prefill);
  });

  it('serves again after its worker was killed', async () => {
    up = new Up([], cache);
    const url = await up.url();
    const [run] = await readdir(join(cache, 'stator', 'run'));
    expect(run).to.equal(String(up.child.pid));
    const worker = await childOf(up.child.pid ?? -1);
    process.kill(worker, 'SIGKILL');
    while (!up.output.includes('worker crashed; restarting')) await delay(20);
    for (;;) {
      const next = await childOf(up.child.pid ?? -1).catch(() => worker);
      if (next !== worker) break;
      await delay(20);
    }
    const say = ['chat', '--url', url, '-m', 'hello', '--max-tokens', '4'];
    for (;;) {
      const { code } = await runStator(say);
      if (code === 0) break;
      await delay(100);
    }
  });

  it('takes its worker along however it ends', async () => {
    up = new Up([], cache);
    await up.url();
    const worker = await childOf(up.child.pid ?? -1);
    up.child.kill('SIGKILL');
    await up.exit;
    while (isAlive(worker)) await delay(20);
  });

  it('names the busy port and the flag', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as AddressInfo;
    const run = await runStator(['up', '--engine', 'mocker', '--port', String(port)], {
      env: { XDG_CACHE_HOME: cache },
    });
    await new Promise((resolve) => holder.close(resolve));
    expect(run.code).to.equal(1);
    expect(run.stderr).to.include(`Port ${port}`).and.include('--port');
  });

  it('shows why the worker does not start', async () => {
    const env = { XDG_CACHE_HOME: cache };
    const run = await runStator(['up', '--engine', 'mocker', '--port', '0', '--', '--max-sequence', '1'], { env });
    expect(run.code).to.equal(1);
    expect(run.stderr).to.include('worker-0 ended with code 2').and.include('Did you mean --max-sequences?');
  });
});

async function childOf(pid: number): Promise<number> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ');
  const [first] = children.filter((each) => each !== '');
  if (first === undefined) throw new Error(`${pid} has no child`);
  return Number(first);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
