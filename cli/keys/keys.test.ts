import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { loadKeys } from '#gateway/tenants/key-file.ts';
import { runStator } from '../stator.test-support.ts';

describe('stator keys', function () {
  // Every step is a process of its own.
  this.timeout(180_000);
  let directory = '';
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'stator-keys-'));
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  it('makes keys that gateways know, lists and revokes them, and leaves the rest of the file alone', async () => {
    const file = join(directory, 'keys.yaml');
    writeFileSync(file, '# ours\nkeys: []\n');
    const created = await runStator([
      'keys',
      'create',
      '--api-keys-file',
      file,
      '--id',
      'ci',
      '--models',
      'a*,b',
      '--max-priority',
      '0',
    ]);
    const key = created.stdout.trim();
    expect(key).to.match(/^sk-stator-[\w-]{43}$/);
    const text = readFileSync(file, 'utf8');
    expect(text).to.contain('# ours').and.not.to.contain(key);
    expect(statSync(file).mode & 0o777).to.equal(0o600);
    const [known] = [...loadKeys(file).keys.values()];
    expect(known?.caller).to.deep.include({ id: 'ci', models: ['a*', 'b'], maxPriority: 0, sharedCache: false });

    const twice = await runStator(['keys', 'create', '--api-keys-file', file, '--id', 'ci']);
    expect(twice.stderr).to.contain('the id ci is used twice');
    expect(readFileSync(file, 'utf8')).to.equal(text);

    const listed = await runStator(['keys', 'list', '--api-keys-file', file]);
    expect(listed.stdout).to.match(/ci +ci +a\* b +valid +never +max priority: 0/);

    await runStator(['keys', 'revoke', '--api-keys-file', file, '--id', 'ci']);
    expect(loadKeys(file).keys.size).to.equal(0);
    const missing = await runStator(['keys', 'revoke', '--api-keys-file', file, '--id', 'ci']);
    expect(missing.stderr).to.contain('has no key ci');
    expect(missing.code).not.to.equal(0);
  });

  it('replaces keys, the old one good for a while', async () => {
    const keys = keysOf('--api-keys-file', join(directory, 'rotated.yaml'));
    const first = await keys('create', '--id', 'ci', '--tokens-per-day', '5');
    const second = await keys('rotate', '--id', 'ci');
    expect(second)
      .to.match(/^sk-stator-/)
      .and.not.to.equal(first);
    const [listed] = JSON.parse(await keys('list', '--json')) as Record<string, unknown>[];
    expect(listed).to.include({ id: 'ci', tokens_per_day: 5 });
    expect(Date.parse(String(listed?.['previous_expires']))).to.be.above(Date.now());
  });

  it('keeps them in a store too', async () => {
    const keys = keysOf('--api-keys-store', `sqlite:${join(directory, 'keys.db')}`);
    const first = await keys('create', '--id', 'ci', '--tokens-per-day', '5');
    expect(await keys('rotate', '--id', 'ci', '--keep-old-seconds', '0')).not.to.equal(first);
    expect(JSON.parse(await keys('list', '--json'))).to.deep.equal([{ id: 'ci', tokens_per_day: 5 }]);
    await keys('revoke', '--id', 'ci');
    expect(await keys('list', '--json')).to.equal('[]');
  });
});

/** Runs `stator keys` on one place and gives what it printed. */
function keysOf(...place: readonly string[]): (...args: readonly string[]) => Promise<string> {
  return async (...args) => {
    const { code, stdout, stderr } = await runStator(['keys', ...args, ...place]);
    expect(code, stderr).to.equal(0);
    return stdout.trim();
  };
}
