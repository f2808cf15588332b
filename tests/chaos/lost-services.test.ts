import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { type Answer, post } from '../support/http.ts';
import { sumOf } from '../support/metrics-text.ts';
import { scrape } from '../support/scrape.ts';
import { until } from '../support/until.ts';

const worker = { engine: 'mocker', settings: { model: 'synthetic', stepMs: 20 } } as const;
const TOKENS = 60;

describe('lost services', function () {
  this.timeout(120_000);
  let cluster: Cluster;

  beforeEach(async () => {
    const common = { discoveryTtlSeconds: 2 };
    cluster = await startCluster({ workers: [worker, worker], separateProcesses: true, discovery: 'file', common });
  });

  afterEach(() => cluster?.stop());

  it('a worker killed under load: its requests continue elsewhere, byte for byte', async () => {
    const alone = await ask();
    const running = Array.from({ length: 8 }, () => ask());
    await until('both workers compute', async () =>
      (await Promise.all([0, 1].map(runningOn))).every((count) => count > 0),
    );
    await cluster.member('mocker', 0).kill();
    for (const answer of await Promise.all(running)) {
      expect(answer.status, answer.text).to.equal(200);
      expect(textOf(answer)).to.equal(textOf(alone));
    }
  });

  it('every worker lost: a typed 503 or 404, and answers again once one is back', async () => {
    for (const index of [0, 1]) await cluster.member('mocker', index).kill();
    await until('the gateway refuses', async () => {
      const { status } = await ask();
      return status === 503 || status === 404;
    });
    await cluster.addWorker(worker);
    await until('the gateway answers again', async () => (await ask()).status === 200, 30_000);
  });

  it('the router killed: requests are still answered', async () => {
    await cluster.member('router').kill();
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask()));
    expect(answers.map(({ status }) => status)).to.deep.equal(Array(8).fill(200));
  });

  it('a worker that drains finishes what it has', async () => {
    const running = Array.from({ length: 4 }, () => ask());
    await until('a worker computes', async () => (await runningOn(0)) > 0);
    await cluster.member('mocker', 0).stop();
    for (const answer of await Promise.all(running)) expect(answer.status, answer.text).to.equal(200);
  });

  function ask(): Promise<Answer> {
    const messages = [{ role: 'user', content: 'Tell me.' }];
    const body = { model: 'synthetic', messages, max_tokens: TOKENS, ignore_eos: true, temperature: 0 };
    return post(`${cluster.url}/v1/chat/completions`, JSON.stringify(body));
  }

  async function runningOn(index: number): Promise<number> {
    const { address } = cluster.member('mocker', index);
    return sumOf(await scrape(address), 'stator_worker_running_sequences');
  }
});

function textOf(answer: Answer): string {
  return (JSON.parse(answer.text) as { choices: [{ message: { content: string } }] }).choices[0].message.content;
}
