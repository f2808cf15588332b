import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { type Answer, post } from '../support/http.ts';
import { skip } from '../support/skip.ts';
import { streamChat } from '../support/sse.ts';
import { StatorProcess } from '../support/stator-process.ts';
import { until } from '../support/until.ts';

describe('stator up', function () {
  this.timeout(90_000);
  let cache: string;

  before(async () => {
    cache = await mkdtemp(path.join(os.tmpdir(), 'stator-up-'));
  });

  after(() => rm(cache, { recursive: true, force: true, maxRetries: 50, retryDelay: 20 }));

  it('serves, prints a curl line, and ends with code 0 on Ctrl-C with nothing left behind', async () => {
    await using up = start();
    const url = await urlOf(up);
    expect(up.output).to.match(/curl .*\/v1\/chat\/completions/);
    expect((await ask(url)).status).to.equal(200);
    const children = await childrenOf(up.pid);
    expect(await up.stop('SIGINT')).to.equal(0);
    expect(children.filter(isAlive)).to.deep.equal([]);
  });

  it('lets a running answer end on SIGTERM', async () => {
    await using up = start('--', '--step-ms', '20');
    const url = await urlOf(up);
    const [model] = await modelsOf(url);
    const messages = [{ role: 'user', content: 'hello' }];
    const running = streamChat(url, { model, messages, max_tokens: 100, ignore_eos: true });
    await Promise.race([until('the answer begins', () => running.text !== ''), running.ended]);
    const stopped = up.stop('SIGTERM');
    const { usage } = await running.ended;
    expect(usage?.completion_tokens).to.equal(100);
    expect(await stopped).to.equal(0);
  });

  it('starts a crashed worker again while the gateway lives on', async function () {
    if (process.platform !== 'linux') skip(this, 'children are found in /proc');
    await using up = start();
    const url = await urlOf(up);
    const [worker = -1] = await childrenOf(up.pid);
    process.kill(worker, 'SIGKILL');
    await until('another worker runs', async () => {
      expect((await fetch(`${url}/live`)).status).to.equal(200);
      const now = await childrenOf(up.pid);
      return now.length > 0 && !now.includes(worker);
    });
    await until('it answers again', async () => (await ask(url)).status === 200, 30_000);
  });

  it('its worker and its block manager end when it is killed itself', async function () {
    if (process.platform !== 'linux') skip(this, 'children are found in /proc');
    const up = start();
    await urlOf(up);
    const children = await childrenOf(up.pid);
    expect(children).to.have.length(2);
    await up.stop('SIGKILL');
    await until('both are gone', () => children.every((pid) => !isAlive(pid)));
  });

  it('says which port is in use', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const port = (taken.address() as { port: number }).port;
    try {
      await using up = new StatorProcess(['up', '--engine', 'mocker', '--port', String(port)], { env: environment() });
      expect(await up.exited).to.be.greaterThan(0);
      expect(up.output).to.contain(`Port ${port}`);
    } finally {
      taken.close();
    }
  });

  it('refuses an unknown setting and names the nearest', async () => {
    await using up = new StatorProcess(['up', '--engin', 'mocker'], { env: environment() });
    expect(await up.exited).to.be.greaterThan(0);
    expect(up.output).to.contain('--engine');
  });

  function environment(): NodeJS.ProcessEnv {
    return { XDG_CACHE_HOME: cache };
  }

  function start(...extra: string[]): StatorProcess {
    return new StatorProcess(['up', '--engine', 'mocker', '--port', '0', ...extra], { env: environment() });
  }
});

/** Once it says that it is ready, and a crash of a worker is answered by another. */
async function urlOf(up: StatorProcess): Promise<string> {
  await up.printed(/Ctrl-C stops everything/, 60_000);
  const [, url = ''] = await up.printed(/URL +(\S+)\/v1/);
  return url;
}

async function ask(url: string): Promise<Answer> {
  const [model = '-'] = await modelsOf(url);
  const messages = [{ role: 'user', content: 'hello' }];
  return post(`${url}/v1/chat/completions`, JSON.stringify({ model, messages, max_tokens: 4 }));
}

async function modelsOf(url: string): Promise<string[]> {
  const listed = JSON.parse(await textOf(`${url}/v1/models`)) as { data: { id: string }[] };
  return listed.data.map(({ id }) => id);
}

async function textOf(url: string): Promise<string> {
  return (await fetch(url)).text();
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
