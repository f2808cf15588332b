import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { MemoryDiscovery, MemoryHub } from '#lib/discovery/memory.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { until } from '#tests/support/until.ts';
import { spec, TestNode } from './node.ts';

const blocks = 100;
const layout = { ...spec, blockBytes: 1_000_000 };

/** Another node, in a process of its own, which discovery knows and does not forget. */
async function startLender(hub: MemoryHub, backend: string): Promise<ChildProcess> {
  const fixture = path.join(import.meta.dirname, 'lender.fixture.ts');
  const args = ['--conditions=source', '--no-warnings', fixture, backend, String(blocks), String(layout.blockBytes)];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const { value } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
  const { address, instanceId }: { address: string; instanceId: string } = JSON.parse(String(value));
  const discovery = new MemoryDiscovery(hub, { namespace: 'test', telemetry: quietTelemetry() });
  await discovery.register(create(InstanceSchema, { instanceId: BigInt(instanceId), kind: ServiceKind.KVBM, address }));
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

for (const backend of ['tcp', 'shm'] as const)
  describe(`a node in another process, over ${backend}`, function () {
    this.timeout(120_000);
    let lender: ChildProcess;
    let here: TestNode;

    beforeEach(async () => {
      const hub = new MemoryHub();
      lender = await startLender(hub, backend);
      here = await TestNode.start(hub, { backend, layout, slots: blocks, config: { findTimeoutMs: 2000 } });
    });
    afterEach(async () => {
      await end(lender);
      await here.close();
    });

    it('is read', async () => {
      const chain = here.chain('a', blocks);
      await until('it is found', async () => (await here.onboard(chain)).loaded === blocks);
      expect(here.has(chain)).to.equal(true);
      await until('nothing is held', () => here.isIdle());
    });

    it('may be killed at any moment of a load', async () => {
      const chain = here.chain('a', blocks);
      await until('it is found', async () => (await find(here)) === blocks);
      let isOver = false;
      const loading = here.onboard(chain).finally(() => {
        isOver = true;
      });
      // A load may be over between two looks.
      await until('the load runs', async () => isOver || /loads 1$/m.test(await here.counter('loads')));
      await end(lender);
      const { loaded } = await loading;
      expect(here.has(chain, loaded)).to.equal(true);
      await until('nothing is held', () => here.isIdle());
      expect((await here.onboard(here.chain('b', 3))).loaded).to.equal(0);
    });

    it('may stop in the middle of a load, and be asked again when it wakes', async () => {
      const chain = here.chain('a', blocks);
      await until('it is found', async () => (await find(here)) === blocks);
      lender.kill('SIGSTOP');
      const { loaded } = await here.onboard(chain);
      expect(loaded).to.equal(0);
      await until('nothing is held', () => here.isIdle());
      lender.kill('SIGCONT');
      await until('it is asked again', async () => (await here.onboard(chain)).loaded === blocks, 50_000);
      expect(here.has(chain)).to.equal(true);
      await until('nothing is held', () => here.isIdle());
    });
  });

function find(node: TestNode): Promise<number> {
  return node.peers.source.find(node.chain('a', blocks), node.layout, 0, new AbortController().signal);
}
