import { expect } from 'chai';
import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { digestOf, TestKvbm } from '#services/kvbm/kvbm.test-support.ts';
import { runStator } from '../stator.test-support.ts';

describe('stator kvbm', function () {
  // Each command is a process.
  this.timeout(180_000);
  let kvbm: TestKvbm;

  beforeEach(async () => {
    kvbm = await new TestKvbm().start();
  });
  afterEach(() => kvbm.close());

  const run = (...args: string[]) => runStator(['kvbm', ...args, '--address', kvbm.address]);

  it('shows, lists, evicts, verifies and purges', async () => {
    expect((await run('stats')).stdout).to.include('No worker has written blocks yet.');
    const worker = await kvbm.attach({ name: 'w-1' });
    const tenant = await worker.open('secret');
    await worker.store('a', 0, 3);
    await worker.store('t', 0, 2, { namespace: tenant });
    const [stats, json, list, lines] = await Promise.all([
      run('stats'),
      run('stats', '--json'),
      run('ls', '--limit', '1'),
      run('ls', '--json'),
    ]);
    expect(stats).to.deep.include({ code: 0, stderr: '' });
    expect(stats.stdout)
      .to.match(/host +test-1 +\d+ .* 5 +5 /)
      .and.to.include('w-1');
    expect(JSON.parse(json.stdout).counters).to.include({ 'registered_blocks_total{host}': '5' });
    expect(list.stdout.trim().split('\n')).to.have.length(2);
    const blocks = lines.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { digest: string; tenant?: string });
    expect(blocks).to.have.length(5);
    expect(stats.stdout + lines.stdout).not.to.include('secret');
    const [evicted, verified] = [
      await run('evict', '--digest', digestOf('a', 2).toString('hex')),
      await run('verify', '--tier', 'host', '--json'),
    ];
    expect(evicted).to.deep.include({ code: 0, stdout: '1 blocks left tier host.\n' });
    expect(JSON.parse(verified.stdout)).to.deep.equal({ checked: 4, wrong: 0 });
    const slot = (await worker.read('a', 1)).messages[0]?.slots[0] ?? 0;
    worker.payload(slot)[9] = 0xff;
    expect(await run('verify')).to.deep.include({ code: 1, stdout: '4 blocks checked, 1 wrong and dropped.\n' });
    expect((await run('purge', '--cache-salt', 'secret')).stdout).to.equal('2 blocks and 0 objects are gone.\n');
    expect(await worker.match('t', 2, tenant)).to.deep.equal([]);
    expect(
      (await kvbm.client.listBlocks({ tier: BlockTier.HOST })[Symbol.asyncIterator]().next()).value?.blocks,
    ).to.have.length(1);
  });

  it('says what is missing', async () => {
    const [count, salt, nobody, help] = await Promise.all([
      run('evict'),
      run('purge'),
      runStator(['kvbm', 'stats', '--discovery', `file:${kvbm.folder}/empty`]),
      run('verify', '--help'),
    ]);
    expect(count).to.deep.include({ code: 2, stderr: 'stator kvbm evict: Give either --count or --digest.\n' });
    expect(salt.code).to.equal(2);
    expect(nobody.code).to.equal(1);
    expect(nobody.stderr).to.include('No block manager is registered');
    expect(help).to.deep.include({ code: 0 });
    expect(help.stdout).to.include('--tier');
  });
});
