import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { sumOf } from '../support/metrics-text.ts';
import { openFiles, residentBytes } from '../support/proc.ts';
import { scrape } from '../support/scrape.ts';
import { skip } from '../support/skip.ts';
import { until } from '../support/until.ts';

const STREAMS = 200;
const TOKENS = 40;
/** Growth of a process over a round that is no leak: heap that the collector has not given back yet. */
const GROWTH_BYTES = 96 * 1024 * 1024;

type Behaviour = 'reads' | 'leaves' | 'sleeps' | 'never';

describe('200 concurrent streams', function () {
  this.timeout(180_000);
  let cluster: Cluster;
  let model: string;

  before(async function () {
    if (process.platform !== 'linux') skip(this, 'file descriptors are counted in /proc');
    cluster = await startCluster({
      workers: [{ engine: 'mocker', settings: { maxSequences: 256 } }],
      separateProcesses: true,
      discovery: 'file',
    });
    model = (await cluster.listsModels(1))[0] ?? '';
    // One round warms every process, so that what stays open for good is open already.
    await round(() => 'reads');
    await settled();
  });

  after(() => cluster?.stop());

  it('all end, and nothing of them is left', async () => {
    const before = await usage();
    const results = await round((index) => (index % 3 === 0 ? 'leaves' : index % 10 === 1 ? 'sleeps' : 'reads'));
    for (const { behaviour, tokens, finished } of results) {
      if (behaviour === 'leaves') continue;
      expect(finished, behaviour).to.equal(true);
      expect(tokens, behaviour).to.equal(TOKENS);
    }
    await settled();
    await until('file descriptors return to the start', async () => {
      const now = await usage();
      return now.every(({ files }, index) => files <= (before[index]?.files ?? 0) + 2);
    });
    const after = await usage();
    for (const [index, { role, bytes }] of after.entries()) {
      expect(bytes - (before[index]?.bytes ?? 0), `memory of ${role}`).to.be.lessThan(GROWTH_BYTES);
    }
  });

  it('a client that never reads is not waited for by the others', async () => {
    const stuck = open('never');
    await until('the stuck stream has begun', () => stuck.response !== undefined);
    const results = await round(() => 'reads');
    expect(results.every(({ finished }) => finished)).to.equal(true);
    stuck.request.destroy();
    await settled();
  });

  /** Until no process has anything in flight. */
  function settled(): Promise<unknown> {
    return until('nothing is in flight', async () => {
      const gateway = await scrape(cluster.member('gateway').address);
      const worker = await scrape(cluster.member('mocker').address);
      const router = await scrape(cluster.member('router').address);
      return (
        sumOf(gateway, 'stator_gateway_inflight_requests') === 0 &&
        sumOf(worker, 'stator_worker_running_sequences') === 0 &&
        sumOf(router, 'stator_router_active_requests') === 0
      );
    });
  }

  function usage(): Promise<{ role: string; files: number; bytes: number }[]> {
    return Promise.all(
      cluster.members.map(async ({ role, pid = -1 }) => ({
        role,
        files: await openFiles(pid),
        bytes: await residentBytes(pid),
      })),
    );
  }

  async function round(behaviourOf: (index: number) => Behaviour): Promise<StreamResult[]> {
    return Promise.all(Array.from({ length: STREAMS }, (_, index) => open(behaviourOf(index)).ended));
  }

  function open(behaviour: Behaviour): OpenStream {
    return openStream(`${cluster.url}/v1/chat/completions`, behaviour, {
      model,
      messages: [{ role: 'user', content: 'Count.' }],
      max_tokens: TOKENS,
      ignore_eos: true,
      stream: true,
      stream_options: { include_usage: true },
    });
  }
});

interface StreamResult {
  readonly behaviour: Behaviour;
  readonly tokens: number;
  readonly finished: boolean;
}

interface OpenStream {
  readonly request: ClientRequest;
  response: IncomingMessage | undefined;
  readonly ended: Promise<StreamResult>;
}

/** One stream on a connection of its own. `leaves` cuts it after the first bytes, `sleeps` reads a little late. */
function openStream(url: string, behaviour: Behaviour, body: object): OpenStream {
  const sent = request(url, { method: 'POST', headers: { 'content-type': 'application/json' }, agent: false });
  const stream: OpenStream = {
    request: sent,
    response: undefined,
    ended: new Promise((resolve) => {
      let text = '';
      const end = () => {
        const usage = /"completion_tokens":(\d+)/.exec(text);
        resolve({ behaviour, tokens: Number(usage?.[1] ?? 0), finished: text.includes('data: [DONE]') });
      };
      sent.on('error', end);
      sent.on('response', (response) => {
        stream.response = response;
        response.on('error', end);
        response.on('close', end);
        void readAs(behaviour, response, (chunk) => {
          text += chunk;
        });
      });
    }),
  };
  sent.end(JSON.stringify(body));
  return stream;
}

async function readAs(behaviour: Behaviour, response: IncomingMessage, take: (chunk: string) => void): Promise<void> {
  if (behaviour === 'never') return;
  if (behaviour === 'sleeps') await delay(1500);
  response.on('data', (chunk: Buffer) => {
    take(chunk.toString());
    if (behaviour === 'leaves') response.destroy();
  });
}
