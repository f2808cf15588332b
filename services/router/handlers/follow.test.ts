import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { KvBlocksStoredSchema, KvEventSchema, Tier } from '#gen/stator/events/v1/events_pb.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import { RouterService as Contract, KvIndexService } from '#gen/stator/router/v1/router_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient, type RpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { TestPublisher } from '#lib/zmq/testing/publisher.ts';
import { routerSettings } from '../config.ts';
import { type RouterService, startRouter } from '../service.ts';

const file = new URL('../../../tests/fixtures/kv-events/vllm-hybrid.json', import.meta.url);
const { blockSize, steps, messages }: { blockSize: number; steps: { prompts?: number[][] }[]; messages: string[] } =
  JSON.parse(readFileSync(file, 'utf8'));
const prompt = steps.flatMap(({ prompts = [] }) => prompts).at(-1) ?? [];
const promptBlocks = Math.floor(prompt.length / blockSize);

describe('Follow and Unfollow', () => {
  const telemetry = quietTelemetry();
  let stops: (() => unknown)[] = [];
  let router: RouterService;
  let routerTelemetry: ReturnType<typeof quietTelemetry>;
  let index: RpcClient<typeof KvIndexService>['client'];
  let contract: RpcClient<typeof Contract>['client'];
  let publisher: TestPublisher;

  beforeEach(async () => {
    const discovery = await openDiscovery('memory:', { namespace: 'follow', ttlSeconds: 5, telemetry });
    const shutdown = new AbortController();
    routerTelemetry = quietTelemetry();
    const parts = { telemetry: routerTelemetry, discovery, shutdown: shutdown.signal, instanceId: 99n };
    router = await startRouter(defaultSettings(routerSettings, { replicaSync: false }), parts);
    const [forIndex, forContract] = [KvIndexService, Contract].map((service) =>
      createRpcClient(service, { address: router.address }, telemetry),
    ) as [RpcClient<typeof KvIndexService>, RpcClient<typeof Contract>];
    index = forIndex.client;
    contract = forContract.client;
    publisher = await TestPublisher.open();
    for (const hex of messages) await publisher.publish(Buffer.from(hex, 'hex'));
    stops = [
      () => forIndex.close(),
      () => forContract.close(),
      () => router.stop(),
      () => publisher.close(),
      () => discovery.close(),
    ];
  });

  afterEach(async () => {
    for (const stop of stops) await stop();
  });

  const request = () => ({
    ...{ model: 'm', instanceId: 7n, kvBlockSize: blockSize },
    ...{ zmqEndpoint: publisher.endpoint, zmqReplayEndpoint: publisher.replayEndpoint },
  });

  async function refusalOf(run: Promise<unknown>): Promise<string> {
    const error = await run.then(() => null, StatorError.from);
    return error === null ? 'none' : `${error.code} ${error.field ?? ''}`.trim();
  }

  const blocksFound = async (): Promise<number[]> => {
    const { workers } = await index.match({ model: 'm', tokenIds: prompt });
    return workers.map(({ deviceBlocks }) => deviceBlocks);
  };
  async function found(blocks: number): Promise<void> {
    while ((await blocksFound())[0] !== blocks) await delay(5);
  }
  const followed = async (): Promise<number> =>
    (await routerTelemetry.metrics.getSingleMetric('stator_router_engine_streams')?.get())?.values[0]?.value ?? -1;

  it('begin and end the following of an engine that no worker of ours speaks for', async () => {
    await index.follow(request());
    await index.follow(request());
    await found(promptBlocks);
    expect(await followed()).to.equal(1);
    expect((await index.unfollow({ model: 'm', instanceId: 7n, dataParallelRank: 1 })).found).to.equal(false);
    expect((await index.unfollow({ model: 'm', instanceId: 7n })).found).to.equal(true);
    expect((await index.unfollow({ model: 'm', instanceId: 7n })).found).to.equal(false);
    expect(await refusalOf(index.match({ model: 'm', tokenIds: prompt }))).to.equal('model_not_found model');
    await index.follow(request());
    await found(promptBlocks);
  });

  it('name what is wrong', async () => {
    const refused = (more: object) => refusalOf(index.follow({ ...request(), ...more }));
    expect(await refused({ model: '' })).to.equal('invalid_argument model');
    expect(await refused({ instanceId: 0n })).to.equal('invalid_argument instance_id');
    expect(await refused({ kvBlockSize: 0 })).to.equal('invalid_argument kv_block_size');
    expect(await refused({ zmqEndpoint: '' })).to.equal('invalid_argument zmq_endpoint');
    expect(await refused({ zmqReplayEndpoint: 'udp://a:1' })).to.equal('invalid_argument zmq_replay_endpoint');
    await index.follow(request());
    expect(await refused({ zmqReplayEndpoint: '' })).to.equal('conflict zmq_endpoint');
    expect(await refused({ instanceId: 8n, kvBlockSize: 1 })).to.equal('invalid_argument kv_block_size');
  });

  it('exclude events that a caller pushes, and are excluded by them', async () => {
    const value = create(KvBlocksStoredSchema, {
      sequenceHashes: packHashes(BigUint64Array.of(1n)),
      tier: Tier.DEVICE,
    });
    const events = [create(KvEventSchema, { change: { case: 'stored', value } })];
    await index.follow(request());
    expect(await refusalOf(index.apply({ model: 'm', instanceId: 7n, events }))).to.equal('conflict instance_id');
    await index.apply({ model: 'm', instanceId: 8n, events });
    expect(await refusalOf(index.follow({ ...request(), instanceId: 8n }))).to.equal('conflict instance_id');
  });

  it('know the block size of a worker that was added, with whom the following ends', async () => {
    const card = create(ModelCardSchema, { name: 'm', digest: Uint8Array.of(1), limits: { kvBlockSize: blockSize } });
    const worker = create(InstanceSchema, { instanceId: 7n, kind: ServiceKind.WORKER, cards: [card] });
    await contract.upsertWorker({ worker });
    await index.follow({ ...request(), kvBlockSize: 0 });
    await found(promptBlocks);
    await contract.removeWorker({ instanceId: 7n });
    expect(await followed()).to.equal(0);
    await contract.upsertWorker({ worker });
    expect(await blocksFound()).to.deep.equal([]);
  });

  it('leave no socket open when the router stops', async () => {
    await index.follow(request());
    await found(promptBlocks);
    const asked = publisher.replays;
    await router.stop();
    expect(await followed()).to.equal(0);
    // A gap would make a subscriber that still listens ask for it.
    await publisher.publish(Buffer.from(messages[0] ?? '', 'hex'), { onWire: false });
    await publisher.publish(Buffer.from(messages[0] ?? '', 'hex'));
    await delay(50);
    expect(publisher.replays).to.equal(asked);
  });
});
