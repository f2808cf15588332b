import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { type Answer, errorOf, post } from '../support/http.ts';
import { callRouter, type RouterCalls } from '../support/router-calls.ts';
import { until } from '../support/until.ts';

type Headers = Record<string, string>;

describe('routing by what clients and operators say', function () {
  this.timeout(60_000);
  let cluster: Cluster;
  let calls: RouterCalls;
  let workers: string[];

  before(async () => {
    const worker = { engine: 'mocker', settings: { model: 'm', stepMs: 5 } } as const;
    cluster = await startCluster({ workers: [worker, worker], gateway: { overloadStatus: '503' } });
    calls = callRouter(cluster.member('router').address);
    await until('the router knows every worker', async () => (await calls.loads()).length === 2);
    await until('the gateway reaches them', async () => {
      const health = (await (await fetch(`${cluster.url}/health`)).json()) as {
        instances: { session: string; instance_id: string }[];
      };
      workers = health.instances.map(({ instance_id }) => instance_id);
      return health.instances.filter(({ session }) => session === 'ready').length === 2;
    });
  });

  after(async () => {
    await calls?.[Symbol.asyncDispose]();
    await cluster?.stop();
  });

  it('sends a request to the worker that a header names', async () => {
    for (const worker of workers) {
      expect(workerOf(await chat({}, { 'x-dynamo-worker-instance-id': worker }))).to.equal(worker);
      expect(workerOf(await chat({ prefill_worker_id: worker }))).to.equal(worker);
      expect(workerOf(await chat({ routing_constraints: { allowed_worker_ids: [worker] } }))).to.equal(worker);
    }
  });

  it('says in the words of clients that the worker is not there', async () => {
    const answer = await chat({ backend_instance_id: '12345' });
    expect(answer.status).to.equal(404);
    expect(errorOf(answer)).to.include({ code: 'not_found', param: 'nvext.backend_instance_id' });
  });

  it('keeps a session on its worker, whatever is cached elsewhere', async () => {
    for (const [index, worker] of workers.entries()) {
      const session = { 'x-dynamo-session-id': `conversation-${index}` };
      expect(workerOf(await chat({}, { ...session, 'x-dynamo-worker-instance-id': worker }))).to.equal(worker);
      for (let turn = 0; turn < 3; turn++) expect(workerOf(await chat({}, session))).to.equal(worker);
    }
  });

  it('refuses work while every worker is over a threshold, with the status that was set', async () => {
    const set = (value: number | null, more: object = {}): Promise<Answer> =>
      post(
        `${cluster.url}/busy_threshold`,
        JSON.stringify({ model: 'm', active_decode_blocks_threshold: value, ...more }),
      );
    const stop = new AbortController();
    const running = workers.map((worker) =>
      fetch(`${cluster.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-worker-instance-id': worker },
        body: JSON.stringify({ ...body, max_tokens: 2000, ignore_eos: true, stream: true }),
        signal: stop.signal,
      }),
    );
    for (const one of await Promise.all(running)) expect(one.status).to.equal(200);
    expect(JSON.parse((await set(0)).text)).to.include({ model: 'm', active_decode_blocks_threshold: 0 });
    const refused = await chat({});
    expect(refused.status).to.equal(503);
    expect(errorOf(refused)).to.deep.include({ code: 'overloaded', details: { ranks: 2, busy: 2 } });
    expect(Number(refused.headers.get('retry-after'))).to.be.greaterThan(0);
    stop.abort();
    await until('the workers are free again', async () => (await chat({})).status === 200);
    const off = { active_decode_blocks_threshold: null, active_prefill_tokens_threshold: 1_000_000 };
    expect(JSON.parse((await set(null, off)).text)).to.include(off);
    const list = (await (await fetch(`${cluster.url}/busy_threshold`)).json()) as { thresholds: object[] };
    expect(list.thresholds).to.have.length(1);
    expect(list.thresholds[0]).to.include({ model: 'm', ...off });
  });

  const body = { model: 'm', messages: [{ role: 'user', content: 'Hello harbour. '.repeat(30) }], max_tokens: 4 };

  function chat(nvext: object, headers: Headers = {}): Promise<Answer> {
    const asked = { ...body, nvext: { ...nvext, extra_fields: ['worker_id'] } };
    return post(`${cluster.url}/v1/chat/completions`, JSON.stringify(asked), headers);
  }

  function workerOf(answer: Answer): string {
    expect(answer.status, answer.text).to.equal(200);
    const { nvext } = JSON.parse(answer.text) as { nvext: { worker_id: { decode_worker_id: string } } };
    return nvext.worker_id.decode_worker_id;
  }
});
