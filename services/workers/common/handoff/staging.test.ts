import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { until } from '#lib/rpc/testing/wait.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { decodeDescriptors } from '#lib/transfer/descriptors.ts';
import { startTcpAgent, type TcpAgent } from '#lib/transfer/tcp/agent.ts';
import type { Region, TransferAgent } from '#lib/transfer/transfer.ts';
import { parseBackends } from './agents.ts';
import { ByteBudget } from './byte-budget.ts';
import { MemoryPool } from './memory-pool.ts';
import type { HandoffMetrics } from './metrics.ts';
import { Staging } from './staging.ts';

const mib = 1024 * 1024;

describe('staged KV', () => {
  let agent: TcpAgent;
  let staging: Staging;
  let freed: string[];
  let pool: MemoryPool;

  function create(o: { maxBytes?: number; ttlMs?: number; agents?: readonly TransferAgent[] } = {}): Staging {
    const metrics = { freed: (because: string) => void freed.push(because) } as unknown as HandoffMetrics;
    return new Staging({
      agents: { get: async () => o.agents ?? [agent] },
      maxBytes: o.maxBytes ?? 10 * mib,
      pool,
      ttlMs: o.ttlMs ?? 60_000,
      log: quietTelemetry().log,
      metrics: () => metrics,
    });
  }

  beforeEach(async () => {
    freed = [];
    pool = new MemoryPool(10 * mib);
    agent = await startTcpAgent({ name: 'holder' });
    staging = create();
  });

  afterEach(async () => {
    await staging.close();
    await agent.close();
  });

  it('is read by peers until it is freed, and counts until then', async () => {
    const room = staging.reserve(3 * mib);
    if (room === null) throw new Error('there is no room');
    room.memory.fill(7);
    const { offers, deadlineUnixMs } = await staging.lend(room, [{ offset: mib, bytes: mib }]);
    expect(Number(deadlineUnixMs)).to.be.closeTo(Date.now() + 60_000, 10_000);
    await using reader = await startTcpAgent({ name: 'reader' });
    const [offer] = offers;
    const peer = await reader.connect(offer?.agentMetadata ?? new Uint8Array());
    const local = await reader.register(Buffer.alloc(mib));
    const [piece] = decodeDescriptors(offer?.descriptors ?? new Uint8Array());
    if (piece === undefined) throw new Error('nothing is described');
    const pieces = [{ local, localOffset: 0, remote: piece.region, remoteOffset: piece.offset, bytes: piece.bytes }];
    await peer.pull(pieces);
    expect(local.buffer.every((byte) => byte === 7)).to.equal(true);
    expect([staging.size, staging.bytes]).to.deep.equal([1, 3 * mib]);
    expect([await staging.free(room.id, 'released'), await staging.free(room.id, 'released')]).to.deep.equal([
      true,
      false,
    ]);
    expect([staging.size, staging.bytes, agent.counters().regions]).to.deep.equal([0, 0, 0]);
    const late = await peer.pull(pieces).catch((error: unknown) => StatorError.from(error).code);
    expect(late).to.equal('not_found');
    expect(pool.idleBytes).to.equal(3 * mib);
    expect(staging.reserve(3 * mib)?.memory.buffer).to.equal(room.memory.buffer);
  });

  it('is bounded, and room comes back', async () => {
    const rooms = [staging.reserve(6 * mib), staging.reserve(5 * mib), staging.reserve(4 * mib)];
    expect(rooms.map((room) => room !== null)).to.deep.equal([true, false, true]);
    await staging.free(rooms[0]?.id ?? '', 'unused');
    expect(staging.reserve(5 * mib)).to.not.equal(null);
  });

  it('ends in the order of its deadlines, whatever was reserved first', async () => {
    staging = create({ ttlMs: 40 });
    const [kept, lent] = [staging.reserve(mib), staging.reserve(mib)];
    if (kept === null || lent === null) throw new Error('there is no room');
    await staging.lend(lent, [{ offset: 0, bytes: mib }]);
    await until(() => freed.length === 1, 'what was lent ends');
    // Nobody was told of it yet: its prefill decides.
    expect([freed, staging.size]).to.deep.equal([['expired'], 1]);
    await staging.lend(kept, [{ offset: 0, bytes: mib }]);
    await until(() => freed.length === 2, 'the other ends too');
    expect(staging.bytes).to.equal(0);
  });

  it('counts while a transfer that cannot be withdrawn holds it', async () => {
    let busy = true;
    const region = {
      ref: { id: 1, bytes: mib, address: 0n },
      revoke: async () => {
        if (busy) throw new StatorError('conflict', 'a transfer lingers');
      },
    } as unknown as Region;
    const lingering = {
      backend: 'nixl',
      register: async () => region,
      metadata: async () => new Uint8Array(1),
    } as unknown as TransferAgent;
    staging = create({ agents: [lingering] });
    const room = staging.reserve(mib);
    if (room === null) throw new Error('there is no room');
    await staging.lend(room, [{ offset: 0, bytes: mib }]);
    const done = staging.free(room.id, 'released');
    await delay(20);
    expect(staging.bytes).to.equal(mib);
    busy = false;
    expect(await done).to.equal(true);
    expect(staging.bytes).to.equal(0);
  });

  it('is not lent once it was freed, by whatever came in between', async () => {
    const room = staging.reserve(mib);
    if (room === null) throw new Error('there is no room');
    const lending = staging
      .lend(room, [{ offset: 0, bytes: mib }])
      .catch((error: unknown) => StatorError.from(error).code);
    await staging.free(room.id, 'unused');
    expect(await lending).to.equal('not_found');
    expect([staging.bytes, agent.counters().regions]).to.deep.equal([0, 0]);
  });
});

describe('bytes that are fetched at once', () => {
  it('are bounded; who waits goes in order, and may give up', async () => {
    const budget = new ByteBudget(10);
    const { signal } = new AbortController();
    await budget.take(8, signal);
    const order: string[] = [];
    const large = budget.take(6, signal).then(() => order.push('large'));
    const cancel = new AbortController();
    const given = budget.take(1, cancel.signal).catch(() => order.push('given up'));
    const small = budget.take(2, signal).then(() => order.push('small'));
    await delay(1);
    expect(order).to.deep.equal([]);
    cancel.abort(new StatorError('cancelled', 'enough'));
    await given;
    budget.give(8);
    await Promise.all([large, small]);
    expect(order).to.deep.equal(['given up', 'large', 'small']);
    expect(budget.used).to.equal(8);
    const tooMuch = await budget.take(11, signal).catch((error: unknown) => StatorError.from(error).code);
    expect(tooMuch).to.equal('overloaded');
  });
});

describe('transfer back ends of handoffs', () => {
  it('are named in any order; others are refused', () => {
    expect(parseBackends('tcp, shm')).to.deep.equal(['shm', 'tcp']);
    expect(() => parseBackends('rdma')).to.throw(/no transfer back end "rdma"/);
  });
});
