import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import { PromptTree } from '#core/kv-index/testing/prompt-tree.ts';
import { Random } from '#core/kv-index/testing/random.ts';
import { Workload } from '#core/kv-index/testing/workload.ts';
import { createKvIndex } from './index.ts';

/** Steps of each shape; millions were run by raising it (docs/verification.md). */
const steps = 25_000;

const shapes = [
  { name: 'long chains', blocks: 400, continues: 0.98, slots: 6, maxBlocks: 1e6 },
  { name: 'branches everywhere', blocks: 600, continues: 0.5, slots: 12, maxBlocks: 1e6 },
  { name: 'few blocks', blocks: 25, continues: 0.8, slots: 5, maxBlocks: 1e6 },
  { name: 'many slots', blocks: 120, continues: 0.9, slots: 90, maxBlocks: 1e6 },
  { name: 'too little room', blocks: 300, continues: 0.9, slots: 8, maxBlocks: 150 },
];

describe('The native index', () => {
  for (const { name, blocks, continues, slots, maxBlocks } of shapes) {
    it(`agrees with the reference: ${name}`, function () {
      this.timeout(0);
      const random = new Random(blocks + slots);
      const create = () => createKvIndex({ maxBlocks });
      for (let done = 0; done < steps; done += 5000) {
        const tree = new PromptTree(random, blocks, continues);
        const indexes = [create(), new ReferenceKvIndex({ maxBlocks })] as const;
        const workload = new Workload(indexes, tree, random, { slots, reclaimAtOnce: maxBlocks < 1e6 });
        for (let i = 1; i <= 5000; i++) {
          workload.step();
          if (i % 1000 === 0) workload.compare(create);
        }
      }
    });
  }
});
