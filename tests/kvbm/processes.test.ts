import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { freePort } from '#cli/free-port.test-support.ts';
import { CommitOutcome, KvBlockService, type StatsResponse } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { StatorProcess } from '../support/stator-process.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/until.ts';
import { WorkerProcess } from './worker-process.ts';

describe('the block manager and its workers as processes', function () {
  this.timeout(120_000);
  let folder: string;
  let address: string;
  let kvbm: StatorProcess;
  let workers: WorkerProcess[] = [];

  beforeEach(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'stator-kvbm-processes-'));
    address = `127.0.0.1:${await freePort()}`;
    kvbm = await start();
  });
  afterEach(async () => {
    for (const worker of workers) await worker.kill();
    workers = [];
    await kvbm.stop('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  async function start(): Promise<StatorProcess> {
    const flags = ['--listen', address, '--slab-dir', path.join(folder, 'slabs'), '--host-mib', '1'];
    const rest = ['--lost-poll-ms', '20', '--heartbeat-ms', '100', '--discovery', 'memory:', '--log-format', 'json'];
    const process = new StatorProcess(['kvbm', ...flags, ...rest]);
    await process.printed(/kvbm ready/);
    return process;
  }

  async function worker(at = address): Promise<WorkerProcess> {
    const started = await WorkerProcess.start(at, folder);
    workers.push(started);
    await started.does({ op: 'attach' });
    return started;
  }

  async function stats(): Promise<StatsResponse> {
    const { client, close } = createRpcClient(KvBlockService, { address }, quietTelemetry());
    try {
      return await client.stats({});
    } finally {
      close();
    }
  }

  async function slotsBecome(state: 'revoked' | 'partial', count: number): Promise<void> {
    await until(
      `${count} slots are ${state}`,
      async () => (await stats()).arenas[0]?.[state] === BigInt(count),
      60_000,
    );
  }

  it('lets a worker that was stopped in the middle of writing, and wakes, change nothing', async () => {
    const proxy = await startTcpProxy(Number(address.split(':')[1]));
    const sleeper = await worker(`127.0.0.1:${proxy.port}`);
    const other = await worker();
    const { slots = [] } = await sleeper.does({ op: 'reserve', prompt: 'a', blocks: 3 });
    sleeper.child.kill('SIGSTOP');
    await proxy.close();
    await slotsBecome('revoked', 3);
    const { slots: theirs = [] } = await other.does({ op: 'reserve', prompt: 'a', blocks: 3 });
    expect(theirs.filter((slot) => slots.includes(slot))).to.deep.equal([]);
    await other.does({ op: 'write', prompt: 'a' });
    sleeper.child.kill('SIGCONT');
    await sleeper.does({ op: 'write', prompt: 'elsewhere' });
    expect((await sleeper.ask({ op: 'commit', prompt: 'elsewhere' })).failure).to.be.a('string');
    expect((await other.does({ op: 'commit', prompt: 'a' })).outcomes).to.deep.equal(
      Array(3).fill(CommitOutcome.REGISTERED),
    );
    expect(await other.does({ op: 'read', prompt: 'a', blocks: 3 })).to.deep.equal({ blocks: 3, wrong: [] });
    expect((await stats()).arenas[0]?.revoked).to.equal(3n);
    await sleeper.kill();
    await slotsBecome('revoked', 0);
  });

  it('uses the slots of a worker that was killed in the middle of writing', async () => {
    const [victim, other] = [await worker(), await worker()];
    await victim.does({ op: 'reserve', prompt: 'a', blocks: 4 });
    await victim.does({ op: 'write', prompt: 'half' });
    await victim.kill();
    await slotsBecome('partial', 0);
    await slotsBecome('revoked', 0);
    await until('the worker is forgotten', async () => (await stats()).holders.length === 1);
    for (let at = 0; at < 30; at++) await other.does({ op: 'store', prompt: `p${at}`, blocks: 4 });
    for (let at = 20; at < 30; at++)
      expect(await other.does({ op: 'read', prompt: `p${at}`, blocks: 4 })).to.deep.include({ wrong: [] });
  });

  it('keeps what verifies when it is killed and started again, under workers that go on', async () => {
    const pair = [await worker(), await worker()];
    for (const [seed, one] of pair.entries()) await one.does({ op: 'churn', seed: seed + 1 });
    for (let life = 0; life < 3; life++) {
      await until(
        'blocks were stored',
        async () => ((await stats()).counters['registered_blocks_total{host}'] ?? 0n) > 60n,
      );
      await kvbm.stop('SIGKILL');
      kvbm = await start();
      const { counters } = await stats();
      expect(counters['recovered_slots_total{adopted}'], `life ${life}`).to.satisfy(
        (count?: bigint) => (count ?? 0n) > 10n,
      );
      await until('workers are attached again', async () => (await stats()).holders.length === 2);
    }
    const counts = [];
    for (const one of pair) counts.push((await one.does({ op: 'rest' })).churned);
    for (const churned of counts) {
      expect(churned?.attached).to.be.greaterThan(0);
      expect(churned?.read).to.be.greaterThan(0);
    }
    await slotsBecome('partial', 0);
    await slotsBecome('revoked', 0);
    const { holders, arenas, counters } = await stats();
    expect(holders.map(({ leases }) => leases)).to.deep.equal([0, 0]);
    expect(arenas[0]?.registered).to.equal(arenas[0]?.evictable);
    expect(counters['unsound_blocks_total']).to.equal(0n);
  });

  it('waits for a stopped worker also over its own death', async () => {
    const [sleeper, other] = [await worker(), await worker()];
    const { slots = [] } = await sleeper.does({ op: 'reserve', prompt: 'a', blocks: 2 });
    sleeper.child.kill('SIGSTOP');
    await kvbm.stop('SIGKILL');
    kvbm = await start();
    expect((await stats()).counters['recovered_slots_total{being_written}']).to.equal(2n);
    await other.does({ op: 'attach' });
    for (let at = 0; at < 30; at++) await other.does({ op: 'store', prompt: `p${at}`, blocks: 4 });
    const { slots: theirs = [] } = await other.does({ op: 'reserve', prompt: 'b', blocks: 40 });
    expect(theirs.filter((slot) => slots.includes(slot))).to.deep.equal([]);
    await sleeper.kill();
    await slotsBecome('revoked', 0);
  });
});
