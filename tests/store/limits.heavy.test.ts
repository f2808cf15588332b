import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import type { GatewayConfig } from '#gateway/config.ts';
import { until } from '#tests/support/until.ts';
import { type GatewayProcess, startGatewayProcess } from './gateway-process.ts';
import { type Place, places } from './places.ts';

const keys = [
  { id: 'rate', requests_per_minute: 40 },
  { id: 'slots', concurrent_requests: 3 },
  { id: 'month', tokens_per_month: 100 },
  { id: 'outage', requests_per_minute: 20, tokens_per_month: 1_000_000 },
];

for (const [name, open] of Object.entries(places)) {
  if (name !== 'SQLite in memory') describeLimits(name, open);
}

/** Two gateways as processes of their own, over one store of limits. */
function describeLimits(name: string, openPlace: (context: Mocha.Context) => Promise<Place>): void {
  describe(`limits over one store: ${name}`, function () {
    this.timeout(120_000);
    let place: Place;
    let folder = '';
    let config: Partial<GatewayConfig> = {};
    let gateways: GatewayProcess[] = [];
    const held: Response[] = [];

    before(async function () {
      place = await openPlace(this);
      folder = await mkdtemp(path.join(tmpdir(), 'stator-limits-'));
      const apiKeysFile = path.join(folder, 'keys.yaml');
      const hashed = keys.map((key) => ({
        ...key,
        hash: `sha256:${createHash('sha256').update(key.id).digest('hex')}`,
      }));
      await writeFile(apiKeysFile, JSON.stringify({ keys: hashed }));
      const limits = { limitsStore: place.url, limitsSyncMs: 50, limitsLeaseSeconds: 2, limitsStoreTimeoutMs: 3000 };
      config = { apiKeysFile, ...limits, console: false };
      gateways = await Promise.all([startGatewayProcess(config), startGatewayProcess(config)]);
    });

    after(async () => {
      await Promise.all(gateways.map((gateway) => gateway.end('SIGKILL')));
      await place?.dispose();
      if (folder !== '') await rm(folder, { recursive: true });
    });

    /** Status of an answer; a `hang` goes on until its signal is aborted. */
    async function ask(gateway: GatewayProcess | undefined, key: string, signal?: AbortSignal): Promise<number> {
      const content = signal === undefined ? 'Hi' : 'hang';
      const response = await fetch(`${gateway?.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
        body: JSON.stringify({
          model: 'test-model',
          stream: signal !== undefined,
          messages: [{ role: 'user', content }],
        }),
        ...(signal === undefined ? {} : { signal }),
      });
      // Whose answer nobody holds any more, is taken for gone.
      if (signal === undefined) await response.arrayBuffer();
      else held.push(response);
      return response.status;
    }

    /** How many of so many requests, spread over the gateways, were answered. */
    async function letIn(key: string, count: number, signal?: AbortSignal): Promise<number> {
      const asked = Array.from({ length: count }, (_, index) => ask(gateways[index % gateways.length], key, signal));
      const statuses = await Promise.all(asked);
      for (const status of statuses) expect(status).to.be.oneOf([200, 429]);
      return statuses.filter((status) => status === 200).length;
    }

    it('lets through together what one gateway would', async () => {
      const beganMs = performance.now();
      let sum = await letIn('rate', 120);
      await until('all of it was let through', async () => {
        if (sum < 40) sum += await letIn('rate', 4);
        return sum >= 40;
      });
      sum += await letIn('rate', 20);
      const refilled = ((performance.now() - beganMs) / 60_000) * 40;
      expect(sum).to.be.at.most(Math.ceil(40 + refilled) + 1);
    });

    it('counts requests at once, and forgets those of a gateway that was killed', async () => {
      const end = new AbortController();
      expect(await letIn('slots', 8, end.signal)).to.equal(3);
      await gateways[0]?.end('SIGKILL');
      const [dead, alive] = gateways;
      expect(dead).not.to.equal(undefined);
      gateways = alive === undefined ? [] : [alive];
      end.abort();
      const again = new AbortController();
      let running = 0;
      await until('all slots are free again', async () => {
        running += await letIn('slots', 1, again.signal);
        return running === 3;
      });
      expect(await letIn('slots', 2, again.signal)).to.equal(0);
      again.abort();
      gateways.push(await startGatewayProcess(config));
      await until('slots of requests that ended are free', async () => (await letIn('slots', 3)) === 3);
    });

    it('remembers budgets when every gateway was restarted', async () => {
      await until('the budget is used up', async () => (await letIn('month', 2)) === 0);
      await Promise.all(gateways.map((gateway) => gateway.end('SIGTERM')));
      gateways = await Promise.all([startGatewayProcess(config), startGatewayProcess(config)]);
      expect(await letIn('month', 4)).to.equal(0);
    });

    // A file has no server that could crash.
    if (name === 'SQLite in a file') return;

    it('goes on alone while the store is away, and together afterwards', async () => {
      const { server } = place;
      if (server === undefined) throw new Error('there is no server');
      const health = async (): Promise<string[]> =>
        Promise.all(gateways.map(async ({ url }) => (await fetch(`${url}/health`)).text()));
      expect(await letIn('outage', 8)).to.equal(8);
      await server.kill();
      const alone = /stator_gateway_unshared_limits_total\{outcome="local"\} [1-9]/;
      await until('both gateways let requests in alone', async () => {
        await letIn('outage', 2);
        const pages = await Promise.all(gateways.map(async ({ url }) => (await fetch(`${url}/metrics`)).text()));
        return pages.every((text) => alone.test(text));
      });
      expect((await health()).every((text) => text.includes('no_limits_store'))).to.equal(true);
      await server.start();
      await until('both gateways count together', async () =>
        (await health()).every((text) => !text.includes('no_limits_store')),
      );
      await until('what was let in meanwhile counts', async () => (await letIn('outage', 4)) === 0);
    });

    it('begins without the store, and counts together once it is there', async () => {
      const { server } = place;
      if (server === undefined) throw new Error('there is no server');
      await server.kill();
      const late = await startGatewayProcess(config);
      gateways.push(late);
      const health = async (): Promise<string> => (await fetch(`${late.url}/health`)).text();
      expect(await ask(late, 'slots')).to.equal(200);
      expect(await health()).to.contain('no_limits_store');
      await server.start();
      await until('it shares limits', async () => !(await health()).includes('no_limits_store'));
      await until('it knows what others used up', async () => (await ask(late, 'month')) === 429);
    });
  });
}
