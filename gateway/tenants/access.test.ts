import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { GatewayConfig } from '../config.ts';
import type { ErrorBody } from '../testing/answers.ts';
import { type Harness, startHarness, testCard } from '../testing/harness.ts';
import { ScriptedWorker } from '../testing/scripted-worker.ts';
import { until } from '../testing/until.ts';

const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

describe('callers with API keys', () => {
  let directory = '';
  let file = '';
  let worker = new ScriptedWorker();

  beforeEach(() => {
    worker = new ScriptedWorker();
    directory = mkdtempSync(join(tmpdir(), 'stator-keys-'));
    file = join(directory, 'keys.yaml');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  function writeKeys(keys: readonly object[]): void {
    writeFileSync(file, JSON.stringify({ keys }));
  }

  async function withKeys(keys: readonly object[], config: Partial<GatewayConfig> = {}): Promise<Harness> {
    writeKeys(keys);
    const gateway = await startHarness({ apiKeysFile: file, apiKeysReloadSeconds: 0.05, ...config });
    gateway.addWorker(1n, worker);
    return gateway;
  }

  /** Asks for a chat that the worker answers with one word. */
  async function chat(gateway: Harness, headers: Record<string, string>, more: object = {}): Promise<Response> {
    const asked = worker.sequences.length;
    const body = { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }], ...more };
    const answer = gateway.post('/v1/chat/completions', body, {
      headers: { 'content-type': 'application/json', ...headers },
    });
    let isAnswered = false;
    const note = (): void => {
      isAnswered = true;
    };
    answer.then(note, note);
    await until(() => isAnswered || worker.sequences.length > asked);
    const sequence = worker.sequences[asked];
    sequence?.prefilled();
    sequence?.tokens('Hello');
    sequence?.finish();
    return answer;
  }

  const bearer = (key: string): Record<string, string> => ({ authorization: `Bearer ${key}` });

  async function errorOf(response: Response): Promise<ErrorBody['error'] & { status: number }> {
    const { error } = (await response.json()) as ErrorBody;
    return { status: response.status, ...error };
  }

  it('are let in with either header, and nobody without a valid key', async () => {
    await using gateway = await withKeys([
      { id: 'a', hash: sha256('right') },
      { id: 'off', hash: sha256('disabled'), disabled: true },
      { id: 'old', hash: sha256('expired'), expires: '2020-01-01T00:00:00Z' },
    ]);
    expect((await chat(gateway, bearer('right'))).status).to.equal(200);
    expect((await chat(gateway, { 'x-api-key': 'right' })).status).to.equal(200);
    for (const headers of [
      {},
      bearer('wrong'),
      bearer(sha256('right')),
      bearer('disabled'),
      bearer('expired'),
      bearer(''),
    ])
      expect(await errorOf(await chat(gateway, headers)), JSON.stringify(headers)).to.deep.include({
        status: 401,
        code: 'unauthenticated',
        type: 'authentication_error',
      });
    for (const path of ['/v1/models', '/v1/models/test-model'])
      expect((await fetch(gateway.url + path)).status, path).to.equal(401);
    for (const path of ['/health', '/live', '/metrics', '/openapi.json', '/docs'])
      expect((await fetch(gateway.url + path)).status, path).to.equal(200);
    expect(worker.sequences).to.have.length(2);
  });

  it('see only the models that they may use', async () => {
    await using gateway = await withKeys([
      { id: 'all', hash: sha256('all') },
      { id: 'some', hash: sha256('some'), models: ['other*'] },
      { id: 'alias', hash: sha256('alias'), models: ['test-alias'] },
    ]);
    gateway.addWorker(2n, worker, testCard({ name: 'other-model', aliases: [] }));
    const listed = async (key: string): Promise<string[]> => {
      const response = await fetch(`${gateway.url}/v1/models`, { headers: bearer(key) });
      const { data } = (await response.json()) as { data: { id: string }[] };
      return data.map(({ id }) => id);
    };
    expect(await listed('all')).to.deep.equal(['other-model', 'test-model']);
    expect(await listed('some')).to.deep.equal(['other-model']);
    expect(await listed('alias')).to.deep.equal(['test-model']);
    const refused = await errorOf(await chat(gateway, bearer('some')));
    expect(refused).to.deep.include({ status: 404, code: 'model_not_found' });
    // Not even a hint at what others have.
    expect(JSON.stringify(refused)).not.to.contain('test-model`?');
    expect(JSON.stringify(refused)).not.to.contain('"test-model"');
    expect((await chat(gateway, bearer('some'), { model: 'other-model' })).status).to.equal(200);
  });

  it('share cached prompts only within their tenant, whatever salt they name', async () => {
    await using gateway = await withKeys([
      { id: 'a1', hash: sha256('a1'), tenant: 'a' },
      { id: 'a2', hash: sha256('a2'), tenant: 'a' },
      { id: 'b', hash: sha256('b') },
      { id: 'open', hash: sha256('open'), shared_cache: true },
    ]);
    for (const key of ['a1', 'a2', 'b', 'open']) await chat(gateway, bearer(key));
    await chat(gateway, bearer('b'), { cache_salt: 'x' });
    const salts = worker.sequences.map(({ request }) => request.cache?.cacheSalt ?? '');
    const [a1 = '', a2, b = '', open, salted = ''] = salts;
    expect(a1).to.equal(a2);
    expect(new Set([a1, b, open, salted]).size).to.equal(4);
    expect(open).to.equal('');
    await chat(gateway, bearer('b'), { cache_salt: a1 });
    expect(worker.sequences.at(-1)?.request.cache?.cacheSalt).not.to.equal(a1);
  });

  it('are held to their limits and told what is left', async () => {
    await using gateway = await withKeys([
      { id: 'a', hash: sha256('a'), requests_per_minute: 2, max_priority: 3 },
      { id: 't', hash: sha256('t'), tokens_per_minute: 2 },
    ]);
    const first = await chat(gateway, bearer('a'), { nvext: { agent_hints: { priority: 3 } } });
    expect(first.headers.get('x-ratelimit-limit-requests')).to.equal('2');
    expect(first.headers.get('x-ratelimit-remaining-requests')).to.equal('1');
    const greedy = await errorOf(await chat(gateway, bearer('a'), { nvext: { agent_hints: { priority: 4 } } }));
    expect(greedy).to.deep.include({ status: 403, code: 'permission_denied' });
    const third = await chat(gateway, bearer('a'));
    expect(third.headers.get('retry-after')).to.match(/^(2\d|30)$/);
    expect(await errorOf(third)).to.deep.include({ status: 429, code: 'rate_limited', type: 'rate_limit_error' });
    expect((await chat(gateway, bearer('t'))).status).to.equal(200);
    expect((await chat(gateway, bearer('t'))).status).to.equal(429);
  });

  it('change without a restart, and stay as they were while the file cannot be used', async () => {
    await using gateway = await withKeys([{ id: 'a', hash: sha256('old') }]);
    expect((await chat(gateway, bearer('old'))).status).to.equal(200);
    writeKeys([{ id: 'a', hash: sha256('new-key') }]);
    await until(async () => (await chat(gateway, bearer('new-key'))).status === 200);
    expect((await chat(gateway, bearer('old'))).status).to.equal(401);
    writeFileSync(file, '{"keys":[{"id":"a","hash":"md5:no"}]}');
    const degraded = async (): Promise<string> => (await fetch(`${gateway.url}/health`)).text();
    await until(async () => (await degraded()).includes('stale_keys'));
    expect((await chat(gateway, bearer('new-key'))).status).to.equal(200);
    writeKeys([{ id: 'b', hash: sha256('newest') }]);
    await until(async () => !(await degraded()).includes('stale_keys'));
    expect((await chat(gateway, bearer('new-key'))).status).to.equal(401);
  });

  it('leave a line in the audit log for each request, without keys or contents', async () => {
    const auditLog = join(directory, 'audit.jsonl');
    {
      await using gateway = await withKeys([{ id: 'a', hash: sha256('topsecret'), tenant: 'team' }], { auditLog });
      await chat(gateway, bearer('topsecret'));
      await chat(gateway, bearer('guessed'));
      await chat(gateway, bearer('topsecret'), { model: 'nobody' });
    }
    const text = readFileSync(auditLog, 'utf8');
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map(({ key, outcome }) => [key, outcome])).to.deep.equal([
      ['a', 'answered'],
      [undefined, 'unauthenticated'],
      ['a', 'model_not_found'],
    ]);
    expect(lines[0]).to.include({ tenant: 'team', model: 'test-model', path: '/v1/chat/completions', method: 'POST' });
    expect(lines[0]?.['tokens']).to.be.greaterThan(5);
    expect(text).not.to.match(/topsecret|guessed|Hello|"Hi"/);
  });

  it('are in the audit log with all that they ask, and administrators with what they change', async () => {
    const auditLog = join(directory, 'audit.jsonl');
    {
      await using gateway = await withKeys([{ id: 'a', hash: sha256('topsecret') }], {
        auditLog,
        internalToken: 'token',
      });
      const headers = bearer('topsecret');
      await fetch(`${gateway.url}/v1/models`, { headers });
      await fetch(`${gateway.url}/v1/files/file-none`, { method: 'DELETE', headers });
      await fetch(`${gateway.url}/console/state`, { headers });
      await fetch(`${gateway.url}/console/state`, { headers: bearer('token') });
      await gateway.post('/busy_threshold', { model: 'test-model' }, { headers: bearer('token') });
    }
    const lines = readFileSync(auditLog, 'utf8').trim().split('\n');
    const told = lines.map((line) => {
      const { key, method, path, administration, outcome } = JSON.parse(line) as Record<string, unknown>;
      return [key ?? administration, method, path, outcome];
    });
    expect(told.slice(0, 3)).to.deep.equal([
      ['a', 'GET', '/v1/models', 'answered'],
      ['a', 'DELETE', '/v1/files/file-none', 'not_found'],
      [true, 'GET', '/console/state', 'unauthenticated'],
    ]);
    expect(told[3]?.slice(0, 3)).to.deep.equal([true, 'POST', '/busy_threshold']);
    expect(told).to.have.length(4);
    expect(lines.join()).not.to.match(/topsecret|"token"/);
  });

  it('are refused at start with a file that cannot be used, by its field', async () => {
    for (const [text, field] of [
      ['{"keys":[{"id":"a","hash":"x"}]}', 'keys[0].hash'],
      ['{"keys":[{"id":"a b","hash":"x"}]}', 'keys[0].id'],
      [`{"keys":[{"id":"a","hash":"${sha256('a')}","rpm":1}]}`, 'keys[0]'],
      ['keys: [', ''],
    ] as const) {
      writeFileSync(file, text);
      const thrown = await startHarness({ apiKeysFile: file }).then(
        () => null,
        (error: unknown) => error as Error,
      );
      expect(thrown?.message, text).to.contain(file).and.to.contain(field);
    }
  });
});

describe('pages of other origins', () => {
  it('may call where the settings name them', async () => {
    await using gateway = await startHarness({ corsOrigins: ['https://chat.example.org'] });
    const preflight = (origin: string): Promise<Response> =>
      fetch(`${gateway.url}/v1/chat/completions`, {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      });
    const allowed = await preflight('https://chat.example.org');
    expect(allowed.status).to.equal(204);
    expect(allowed.headers.get('access-control-allow-origin')).to.equal('https://chat.example.org');
    expect(allowed.headers.get('access-control-allow-headers')).to.equal('authorization,content-type');
    const foreign = await preflight('https://evil.example.org');
    expect(foreign.headers.get('access-control-allow-origin')).to.equal(null);
    const listed = await fetch(`${gateway.url}/v1/models`, { headers: { origin: 'https://chat.example.org' } });
    expect(listed.headers.get('access-control-allow-origin')).to.equal('https://chat.example.org');
  });
});
