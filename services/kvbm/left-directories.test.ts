import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { hostMemory } from '#native/hostmem/index.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { TestKvbm } from './kvbm.test-support.ts';
import { directoryPrefix, noteKeeper, sweepDirectories } from './left-directories.ts';
import { SlabDirectory } from './slab-directory.ts';

const locks = hostMemory();
const slab = `${'0'.repeat(32)}.slab`;
/** No process has begun at such a time. */
const ended = `${process.ppid} 1\n`;

describe('directories of block managers that were killed', () => {
  let folder: string;
  const at = (name: string) => join(folder, `${directoryPrefix()}${name}`);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'stator-left-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function leave(name: string, keeper?: string): string {
    mkdirSync(at(name), { mode: 0o700 });
    for (const file of ['lock', 'epoch', slab]) writeFileSync(join(at(name), file), '');
    if (keeper !== undefined) writeFileSync(join(at(name), 'keeper'), keeper);
    return at(name);
  }

  it('go when they were to be discarded and whoever started them has ended too', () => {
    const left = leave('left', ended);
    const kept = leave('kept');
    const odd = leave('odd', 'nonsense');
    mkdirSync(join(folder, 'other'));
    writeFileSync(join(folder, 'other', 'keeper'), ended);
    expect(sweepDirectories(at('own'), locks)).to.deep.equal([left]);
    expect(readdirSync(folder).map((name) => join(folder, name))).to.have.members([kept, odd, join(folder, 'other')]);
    expect(readdirSync(kept)).to.include(slab);
  });

  it('stay while whoever started them may start them again', () => {
    const directory = leave('left');
    noteKeeper(directory, true);
    expect(sweepDirectories(at('own'), locks)).to.deep.equal([]);
    // The same number, another process.
    const [pid = ''] = readFileSync(join(directory, 'keeper'), 'utf8').split(' ');
    writeFileSync(join(directory, 'keeper'), `${pid} 1\n`);
    expect(sweepDirectories(at('own'), locks)).to.deep.equal([directory]);
  });

  it('stay while a block manager has them, whatever they say', () => {
    const living = new SlabDirectory(leave('living', ended), locks, (bytes) => xxh3(bytes));
    expect(sweepDirectories(at('own'), locks)).to.deep.equal([]);
    living.close(false);
    expect(sweepDirectories(at('own'), locks)).to.deep.equal([living.path]);
  });

  it('are nobody’s to remove once they are started without --discard', () => {
    const directory = leave('left', ended);
    noteKeeper(directory, false);
    expect(sweepDirectories(at('own'), locks)).to.deep.equal([]);
  });

  it('keep what is not a block manager’s', () => {
    const directory = leave('left', ended);
    writeFileSync(join(directory, 'notes.txt'), 'mine');
    sweepDirectories(at('own'), locks);
    expect(readdirSync(directory)).to.deep.equal(['notes.txt']);
  });

  it('go when the next block manager starts, with drafts of slabs in its own', async () => {
    const left = leave('left', ended);
    mkdirSync(at('own'), { mode: 0o700 });
    const draft = join(at('own'), `${slab}.${'f'.repeat(16)}.new`);
    writeFileSync(draft, '');
    const kvbm = await new TestKvbm({ slabDir: at('own'), discard: true }).start();
    try {
      expect([existsSync(left), existsSync(draft)]).to.deep.equal([false, false]);
      expect(kvbm.records.map(({ left: removed }) => removed)).to.deep.include([left]);
      expect(readFileSync(join(at('own'), 'keeper'), 'utf8')).to.match(/^\d+ \d+\n$/);
    } finally {
      await kvbm.close();
    }
    expect(existsSync(at('own'))).to.equal(false);
  });
});
