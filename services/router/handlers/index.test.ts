import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { packHashes, unpackHashes } from '#core/tokens/packed-hashes.ts';
import { InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { KvBlocksRemovedSchema, KvBlocksStoredSchema, KvEventSchema, Tier } from '#gen/stator/events/v1/events_pb.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import { type ApplyRequest, RouterService as Contract, KvIndexService } from '#gen/stator/router/v1/router_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient, type RpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { routerSettings } from '../config.ts';
import { type RouterService, startRouter } from '../service.ts';

const hashes = (...values: bigint[]): Uint8Array => packHashes(BigUint64Array.from(values));
const stored = (sequenceHashes: Uint8Array, tier: Tier, parent?: bigint) =>
  create(KvEventSchema, {
    change: {
      case: 'stored',
      value: create(KvBlocksStoredSchema, {
        sequenceHashes,
        tier,
        ...(parent === undefined ? {} : { parentSequenceHash: parent }),
      }),
    },
  });

describe('KvIndexService', () => {
  const telemetry = quietTelemetry();
  const stops: (() => Promise<unknown>)[] = [];
  let router: RouterService;
  let index: RpcClient<typeof KvIndexService>['client'];

  async function start(): Promise<RouterService> {
    const discovery = await openDiscovery('memory:', { namespace: `index-${stops.length}`, ttlSeconds: 5, telemetry });
    const shutdown = new AbortController();
    const parts = { telemetry: quietTelemetry(), discovery, shutdown: shutdown.signal, instanceId: 99n };
    const started = await startRouter(defaultSettings(routerSettings, { replicaSync: false, kvHitWindow: 3 }), parts);
    const { client, close } = createRpcClient(Contract, { address: started.address }, telemetry);
    const card = create(ModelCardSchema, { name: 'm', digest: Uint8Array.of(1), limits: { kvBlockSize: 4 } });
    await client.upsertWorker({
      worker: create(InstanceSchema, { instanceId: 7n, kind: ServiceKind.WORKER, cards: [card] }),
    });
    close();
    stops.push(async () => {
      await started.stop();
      await discovery.close();
    });
    return started;
  }

  function indexOf({ address }: RouterService): RpcClient<typeof KvIndexService>['client'] {
    const { client, close } = createRpcClient(KvIndexService, { address }, telemetry);
    stops.push(async () => close());
    return client;
  }

  beforeEach(async () => {
    router = await start();
    index = indexOf(router);
  });

  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
  });

  it('takes pushed events, finds prompts tier by tier and rebuilds itself from its dump', async () => {
    const events = [stored(hashes(1n, 2n, 3n), Tier.DEVICE), stored(hashes(4n), Tier.HOST, 3n)];
    expect((await index.apply({ model: 'm', instanceId: 7n, events })).applied).to.equal(2n);
    const removed = create(KvBlocksRemovedSchema, { sequenceHashes: hashes(3n, 9n), tier: Tier.DEVICE });
    const removal = [create(KvEventSchema, { change: { case: 'removed', value: removed } })];
    expect(await index.apply({ model: 'm', instanceId: 7n, events: removal })).to.include({ unmatched: 1n });
    await index.apply({ model: 'm', instanceId: 7n, events: [stored(hashes(3n), Tier.DISK, 2n)] });
    const { workers, promptBlocks, kvBlockSize } = await index.match({
      model: 'm',
      sequenceHashes: hashes(1n, 2n, 3n, 4n),
    });
    expect([promptBlocks, kvBlockSize]).to.deep.equal([4, 4]);
    expect(workers[0]).to.include({ instanceId: 7n, deviceBlocks: 2, hostBlocks: 0, diskBlocks: 1, externalBlocks: 0 });

    const parts: ApplyRequest[] = [];
    for await (const { events: part } of index.dump({ model: 'm' })) if (part !== undefined) parts.push(part);
    const other = indexOf(await start());
    for (const part of parts) await other.apply(part);
    const again = await other.match({ model: 'm', sequenceHashes: hashes(1n, 2n, 3n, 4n) });
    expect(again.workers).to.deep.equal(workers);
  });

  it('tells how many of the last lookups found each block', async () => {
    await index.apply({ model: 'm', instanceId: 7n, events: [stored(hashes(1n, 2n), Tier.DEVICE)] });
    const ask = async (...of: bigint[]): Promise<number[]> =>
      (await index.match({ model: 'm', sequenceHashes: hashes(...of) })).blockHits;
    expect(await ask(1n, 2n)).to.deep.equal([0, 0]);
    expect(await ask(1n, 5n)).to.deep.equal([1, 0]);
    expect(await ask(1n, 2n)).to.deep.equal([2, 1]);
    expect(await ask(1n, 2n)).to.deep.equal([3, 2]);
    expect(await ask(1n, 2n), 'the first is out of the window').to.deep.equal([3, 2]);
  });

  it('hashes tokens as workers do', async () => {
    const chain = unpackHashes(hashes(14643705804678351452n, 4945711292740353085n));
    await index.apply({ model: 'm', instanceId: 7n, events: [stored(packHashes(chain), Tier.DEVICE)] });
    const { workers } = await index.match({ model: 'm', tokenIds: [1, 2, 3, 4, 5, 6, 7, 8, 9] });
    expect(workers[0]?.deviceBlocks).to.equal(2);
    const salted = await index.match({ model: 'm', tokenIds: [1, 2, 3, 4, 5, 6, 7, 8, 9], cacheSalt: 'tenant' });
    expect(salted.workers).to.deep.equal([]);
  });

  it('forgets a worker that is gone, and says what is wrong with events', async () => {
    const codeOf = (run: Promise<unknown>): Promise<string> =>
      run.then(
        () => 'no error',
        (thrown: unknown) => `${StatorError.from(thrown).code} ${StatorError.from(thrown).field ?? ''}`,
      );
    const broken = [stored(new Uint8Array(7), Tier.DEVICE)];
    expect(await codeOf(index.apply({ model: 'm', instanceId: 7n, events: broken }))).to.equal(
      'invalid_argument events[0].stored.sequence_hashes',
    );
    expect(await codeOf(index.apply({ model: 'm', instanceId: 7n, events: [create(KvEventSchema)] }))).to.equal(
      'invalid_argument events[0].change',
    );
    expect(await codeOf(index.match({ model: 'other' }))).to.equal('model_not_found model');
    await index.apply({ model: 'm', instanceId: 7n, events: [stored(hashes(1n), Tier.DEVICE)] });
    const { client, close } = createRpcClient(Contract, { address: router.address }, telemetry);
    await client.removeWorker({ instanceId: 7n });
    close();
    expect(await codeOf(index.match({ model: 'm', sequenceHashes: hashes(1n) }))).to.equal('model_not_found model');
  });
});
