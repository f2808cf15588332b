import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { createOverlaps } from '#core/kv-index/kv-index.ts';
import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import { dataFile, type Shape } from './data.ts';
import { type ChangeSection, type Data, queriesOf, querySets, readData } from './layout.ts';
import { encodeMessages } from './messages.ts';

describe('data of the benchmark kvindex', () => {
  let folder = '';
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'stator-kvindex-data-'));
  });
  after(() => rm(folder, { recursive: true }));

  const load = async (shape: Shape): Promise<Data> => readData(await dataFile(folder, shape));
  const fill = (data: Data): ReferenceKvIndex => {
    const index = new ReferenceKvIndex({ maxBlocks: 1_000_000 });
    for (let worker = 0; worker < data.workers; worker++) index.addSlot();
    return index;
  };
  /** Applies a section; returns the changed blocks. Every event must do all that it says. */
  const apply = (index: ReferenceKvIndex, data: Data, section: ChangeSection, blocksPerEvent: number): number => {
    let changed = 0;
    for (const { worker, bytes, events, blocks } of encodeMessages(data, section, blocksPerEvent)) {
      const applied = index.applyMessage(bytes, (rank) => (rank === 0 ? worker : undefined));
      expect(applied.events).to.equal(events);
      expect(applied.stored + applied.removed).to.equal(blocks);
      expect(applied.unmatchedParents + applied.unmatchedRemovals + applied.duplicates).to.equal(0);
      changed += blocks;
    }
    return changed;
  };

  for (const commonBlocks of [0, 8])
    for (const blocksPerEvent of [16, 1])
      it(`fits an index, in events of ${blocksPerEvent}, with ${commonBlocks} common blocks`, async () => {
        const data = await load({ blocks: 40_000, workers: 3, commonBlocks });
        const index = fill(data);
        expect(apply(index, data, 'stores', blocksPerEvent)).to.equal(data.entries);
        expect(index.stats.entries).to.equal(data.entries);
        apply(index, data, 'mixedStores', blocksPerEvent);
        apply(index, data, 'mixedRemovals', blocksPerEvent);
        const overlaps = createOverlaps(data.workers);
        for (const [set, { depth }] of querySets.entries())
          for (const { hashes, owner } of queriesOf(data, set).slice(0, 50)) {
            expect(index.match(hashes, overlaps)).to.equal(depth);
            expect(overlaps.device[owner]).to.equal(depth);
            const sharing = overlaps.device.filter((blocks) => blocks > 0).length;
            if (commonBlocks > 0) expect(sharing).to.equal(data.workers);
          }
        expect(apply(index, data, 'removals', blocksPerEvent)).to.equal(data.entries);
        expect(index.stats.entries).to.equal(0);
      });

  it('is the same every time', async () => {
    const shape = { blocks: 20_000, workers: 5, commonBlocks: 8 };
    const first = await load(shape);
    await rm(folder, { recursive: true });
    expect(await load(shape)).to.deep.equal(first);
  });
});
