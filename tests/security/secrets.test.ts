import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { post } from '../support/http.ts';
import { StatorProcess } from '../support/stator-process.ts';
import { until } from '../support/until.ts';

/** Every secret holds this word, so that any trace of one can be found. */
const mark = 'hunter2';
const internalToken = `internal-${mark}-token`;
const apiKey = `sk-${mark}-of-a-tenant`;
const content = `the prompt says ${mark} to nobody else`;
/** What a token of an identity provider looks like. */
const jwt = [`{"alg":"RS256","kid":"${mark}"}`, `{"sub":"${mark}"}`, mark]
  .map((part) => Buffer.from(part).toString('base64url'))
  .join('.');
const secrets = [mark, jwt, Buffer.from(mark).toString('base64').slice(0, 9), encodeURIComponent(content)];

function findSecrets(where: string, text: string): void {
  for (const secret of secrets) {
    const at = text.indexOf(secret);
    expect(at, `${where} holds a secret: …${text.slice(Math.max(0, at - 200), at + 60)}`).to.equal(-1);
  }
}

describe('secrets', function () {
  this.timeout(180_000);
  let folder: string;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'stator-secrets-'));
  });

  after(() => rm(folder, { recursive: true, force: true }));

  it('come into no log of any service at its most talkative', async () => {
    const apiKeysFile = path.join(folder, 'keys.yaml');
    const auditLog = path.join(folder, 'audit.jsonl');
    const hash = `sha256:${createHash('sha256').update(apiKey).digest('hex')}`;
    await writeFile(apiKeysFile, JSON.stringify({ keys: [{ id: 'ci', hash }] }));
    const cluster = await startCluster({
      separateProcesses: true,
      common: { internalToken, logLevel: 'trace' },
      workers: [],
      gateway: { apiKeysFile, auditLog },
    });
    try {
      await cluster.addWorker({ engine: 'mocker', settings: { model: 'm' } });
      await useEverywhere(cluster);
      for (const { role, output } of cluster.members) {
        const text = output();
        expect(text.length, `all of the log of ${role} is at hand`).to.be.within(1, 999_999);
        findSecrets(`the log of ${role}`, text);
      }
      findSecrets('the audit log', await readFile(auditLog, 'utf8'));
      for (const { role, address } of cluster.members) {
        for (const page of ['/metrics', '/health']) {
          const headers = { authorization: `Bearer ${internalToken}` };
          findSecrets(`${page} of ${role}`, await (await fetch(`http://${address}${page}`, { headers })).text());
        }
      }
      checkLines(cluster.member('gateway').output());
      checkLines(await readFile(auditLog, 'utf8'));
    } finally {
      await cluster.stop();
    }
  });

  it('come into no message of services that cannot begin', async () => {
    const dead = '127.0.0.1:9';
    const commands = [
      ['gateway', '--listen', '127.0.0.1:0', '--discovery', 'memory:s', '--store', `postgres://u:${mark}@${dead}/d`],
      [
        'gateway',
        '--listen',
        '127.0.0.1:0',
        '--discovery',
        'memory:s',
        '--limits-store',
        `redis://u:${mark}@${dead}/0`,
      ],
      [
        'gateway',
        '--listen',
        '127.0.0.1:0',
        '--discovery',
        'memory:s',
        '--api-keys-store',
        `postgres://u:${mark}@${dead}/d`,
      ],
      ['router', '--discovery', `etcd:http://${dead}`, '--etcd-username', 'u', '--etcd-password', mark],
      ['router', '--discovery', 'memory:s', '--listen', 'nowhere', '--internal-token', internalToken],
      ['keys', 'list', '--api-keys-store', `postgres://u:${mark}@${dead}/d`],
      ['models', '--url', `http://${dead}`, '--api-key', apiKey],
    ];
    await Promise.all(
      commands.map(async (command) => {
        await using running = new StatorProcess([...command]);
        await Promise.race([running.exited, delay(4000)]);
        findSecrets(command.slice(0, 4).join(' '), running.output);
      }),
    );
  });
});

/** Shows secrets in every place where clients put them, rightly or wrongly. */
async function useEverywhere({ url, members }: Cluster): Promise<void> {
  const chat = `${url}/v1/chat/completions`;
  const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content }], max_tokens: 2, user: 'me' });
  await until('the key is good', async () => (await post(chat, body, { 'x-api-key': apiKey })).status === 200);
  const bearer = { authorization: `Bearer ${apiKey}` };
  const answers = [
    await post(chat, body, bearer),
    await post(chat, JSON.stringify({ ...JSON.parse(body), stream: true }), bearer),
    await post(chat, body, { authorization: `Bearer ${apiKey}x` }),
    await post(chat, body, { authorization: `Bearer ${jwt}` }),
    await post(chat, body, { authorization: `Basic ${btoa(`u:${mark}`)}` }),
    await post(`${chat}?api_key=${apiKey}`, body),
    await post(`${url}/v1/nothing?token=${apiKey}#${mark}`, body, bearer),
    await post(chat, body.replace('"user"', `"api_key":"${mark}","user"`), bearer),
    await post(chat, body.slice(0, -9), bearer),
    await post(chat, JSON.stringify({ model: mark.repeat(3), messages: [], tools: mark }), bearer),
    await post(`${url}/v1/responses`, JSON.stringify({ model: 'm', input: content, max_output_tokens: 2 }), bearer),
    await post(`${url}/v1/messages`, body, bearer),
    await post(`${url}/tokenize`, JSON.stringify({ model: 'm', prompt: content }), bearer),
    await post(
      `${url}/stator.inference.v1.InferenceService/Chat`,
      JSON.stringify({ model: 'm', apiKey: mark }),
      bearer,
    ),
    await post(chat, body, { ...bearer, cookie: `session=${mark}`, 'x-forwarded-authorization': mark }),
    await post(chat, body, { ...bearer, 'x-request-id': 'a b\n"level":60'.replace('\n', '') }),
  ];
  expect(answers.filter(({ status }) => status === 200).length).to.be.at.least(2);
  await fetch(`${url}/busy_threshold`, { headers: { authorization: `Bearer ${internalToken}x` } });
  for (const { address } of members) {
    await fetch(`http://${address}/metrics`, { headers: { authorization: `Bearer wrong-${mark}` } });
    await fetch(`http://${address}/%0a{"level":60,"msg":"forged"}%0a?x=${mark}`, { headers: bearer });
  }
}

/** A record is a line and nobody else's words are one. */
function checkLines(text: string): void {
  // The last line may be half written.
  for (const line of text.slice(0, text.lastIndexOf('\n') + 1).split('\n')) {
    if (!line.startsWith('{')) continue;
    expect(() => JSON.parse(line), line).not.to.throw();
    expect(JSON.parse(line)).not.to.include({ msg: 'forged' });
  }
}
