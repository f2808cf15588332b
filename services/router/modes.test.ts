import { expect } from 'chai';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import { codeOf, routeRequest, type TestRouter, TestRouters, workerInstance } from './router.test-support.ts';

const prompt = packHashes(BigUint64Array.of(11n, 12n, 13n, 14n));
const asked = (extra: Parameters<typeof routeRequest>[0] = {}) =>
  routeRequest({ promptTokens: 64, sequenceHashes: prompt, ...extra });

describe('modes of the router', () => {
  const routers = new TestRouters();
  const { signal } = new AbortController();

  afterEach(() => routers.close());

  async function cachePrompt({ index }: TestRouter, instanceId: bigint): Promise<void> {
    const change = { case: 'stored' as const, value: { tier: Tier.DEVICE, sequenceHashes: prompt } };
    await index.apply({ model: 'm', instanceId, events: [{ change }] });
  }

  it('are of the stage that a request names, unless it names its mode too', async () => {
    const ofRole = (role: WorkerRole, id: bigint) => ({ id, card: { role } });
    const test = await routers.start([ofRole(WorkerRole.PREFILL, 1n), ofRole(WorkerRole.DECODE, 2n), { id: 3n }], {
      prefillMode: 'round-robin',
      decodeMode: 'least-loaded',
    });
    const modeFor = async (role: WorkerRole, mode: RouterMode = RouterMode.UNSPECIFIED) =>
      (await test.router.client.route(asked({ constraints: { role }, mode }), signal)).mode;
    expect(await modeFor(WorkerRole.PREFILL)).to.equal(RouterMode.ROUND_ROBIN);
    expect(await modeFor(WorkerRole.DECODE)).to.equal(RouterMode.LEAST_LOADED);
    expect(await modeFor(WorkerRole.UNSPECIFIED)).to.equal(RouterMode.KV);
    expect(await modeFor(WorkerRole.DECODE, RouterMode.RANDOM)).to.equal(RouterMode.RANDOM);
  });

  it('are the one of the router where a stage has none of its own', async () => {
    const test = await routers.start([{ id: 1n, card: { role: WorkerRole.DECODE } }], { mode: 'random' });
    const constraints = { role: WorkerRole.DECODE };
    expect((await test.router.client.route(asked({ constraints }), signal)).mode).to.equal(RouterMode.RANDOM);
  });

  it('know nothing of caches where load alone decides', async () => {
    const test = await routers.start([{ id: 1n }, { id: 2n }], { loadAware: true });
    await cachePrompt(test, 1n);
    const { costs } = await test.client.explain({ route: asked() });
    for (const { terms } of costs) expect(terms).to.include({ device_blocks: 0, overlap_credit: 0, shared_blocks: 0 });
    const workers = new Set<bigint>();
    for (let i = 0; i < 2; i++) workers.add((await test.router.client.route(asked(), signal)).instanceId);
    expect(workers.size).to.equal(2);
    await test.router.client.route(asked({ constraints: { instanceId: 1n } }), signal);
    const blocks = (await test.client.getLoads({})).loads.map(({ activeBlocks }) => activeBlocks);
    expect(blocks).to.deep.equal([8n, 4n]);
  });

  it('count blocks that requests have in common once, unless told not to', async () => {
    for (const [assumeKvReuse, blocks] of [
      [true, 4n],
      [false, 8n],
    ] as const) {
      const test = await routers.start([{ id: 1n }], { assumeKvReuse });
      for (let i = 0; i < 2; i++) await test.router.client.route(asked(), signal);
      expect((await test.client.getLoads({})).loads[0]?.activeBlocks).to.equal(blocks);
    }
  });

  it('count no prompts as work where those are not to be tracked', async () => {
    const test = await routers.start([{ id: 1n }], { trackPrefillTokens: false });
    await test.router.client.route(asked(), signal);
    await test.router.client.route(routeRequest({ overrides: { trackPrefillTokens: true } }), signal);
    expect((await test.client.getLoads({})).loads[0]?.activePrefillTokens).to.equal(40n);
  });

  it('wait for as many workers as the router is told to begin with', async () => {
    const test = await routers.start([{ id: 1n }], { minInitialWorkers: 2 });
    const health = async () => (await fetch(`http://${test.router.address}/health`)).status;
    expect(await codeOf(test.router.client.route(asked(), signal))).to.equal('not_ready');
    expect(await health()).to.equal(503);
    await test.client.upsertWorker({ worker: workerInstance(2n, '') });
    expect(await codeOf(test.router.client.route(asked(), signal))).to.equal('no error');
    expect(await health()).to.equal(200);
    await test.client.removeWorker({ instanceId: 2n });
    expect(await codeOf(test.router.client.route(asked(), signal))).to.equal('no error');
  });
});
