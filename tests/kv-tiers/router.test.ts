import { expect } from 'chai';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import type { WorkerCost } from '#gen/stator/router/v1/router_pb.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import { callRouter } from '#tests/support/router-calls.ts';
import { until } from '#tests/support/until.ts';
import { attached, Machine } from './processes.ts';
import { promptOf } from './tiered-worker.ts';

const blockSize = 16;
const engine = { model: 'synthetic', blockSize, kvBlockBytes: 16_384, meanOutputTokens: 0, kvBlocks: 256 };

describe('routers and KV tiers', function () {
  this.timeout(120_000);

  it('weigh what is in host memory for every worker that reaches it, until the block manager is gone', async () => {
    await using machine = new Machine();
    const kvbm = await machine.kvbm();
    const router = await machine.router();
    const [a, b] = await Promise.all([machine.worker('mocker', engine), machine.worker('mocker', engine)]);
    await attached(a, b);
    await using calls = callRouter(router.address);
    const prompt = promptOf(1, 1, 160);
    const { sequenceHashes, localHashes } = hashBlocks(Uint32Array.from(prompt), blockSize, {
      cacheSalt: '',
      adapter: '',
    });
    const costs = async (): Promise<readonly WorkerCost[]> => {
      const hashes = { sequenceHashes: packHashes(sequenceHashes), localHashes: packHashes(localHashes) };
      const route = { requestId: 'one', model: 'synthetic', promptTokens: 160, kvBlockSize: blockSize, ...hashes };
      return (await calls.client.explain({ route })).costs;
    };
    const blocksOf = async (): Promise<string[]> => {
      const found = (await costs()).map(({ deviceBlocks, hostBlocks }) => `${deviceBlocks} + ${hostBlocks}`);
      return found.toSorted();
    };
    await until('the router knows both workers', async () => (await costs()).length === 2);
    expect(await blocksOf()).to.deep.equal(['0 + 0', '0 + 0']);
    await a.generate(prompt, 4);
    await until('both have it, one on its device too', async () => {
      const [first, second] = await blocksOf();
      return first === '0 + 10' && second === '10 + 0';
    });
    // A router that comes later learns it from snapshots.
    const late = await machine.router();
    await using lateCalls = callRouter(late.address);
    await until('a late router knows it', async () => {
      const hashes = { sequenceHashes: packHashes(sequenceHashes), localHashes: packHashes(localHashes) };
      const route = { requestId: 'two', model: 'synthetic', promptTokens: 160, kvBlockSize: blockSize, ...hashes };
      const { costs: known } = await lateCalls.client.explain({ route });
      return known.some(({ deviceBlocks, hostBlocks }) => deviceBlocks === 0 && hostBlocks === 10);
    });
    await kvbm.kill();
    await until('only the device has it', async () => {
      const [first, second] = await blocksOf();
      return first === '0 + 0' && second === '10 + 0';
    });
  });
});
