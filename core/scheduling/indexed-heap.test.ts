import { expect } from 'chai';
import fc from 'fast-check';
import { type HeapNode, IndexedHeap } from './indexed-heap.ts';

interface Item {
  key: number;
}

const operation = fc.oneof(
  { weight: 4, arbitrary: fc.record({ push: fc.integer({ min: 0, max: 30 }) }) },
  { weight: 1, arbitrary: fc.record({ pop: fc.constant(true) }) },
  { weight: 2, arbitrary: fc.record({ remove: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ move: fc.nat(), to: fc.integer({ min: 0, max: 30 }) }) },
);

describe('IndexedHeap', () => {
  it('gives the smallest of a plain list under any pushes, pops, removals and moves', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
        const heap = new IndexedHeap<Item>((a, b) => a.key < b.key);
        let twin: HeapNode<Item>[] = [];
        for (const step of operations) {
          const at = 'remove' in step ? step.remove : 'move' in step ? step.move : 0;
          const picked = twin[at % Math.max(1, twin.length)];
          if ('push' in step) twin.push(heap.push({ key: step.push }));
          else if ('pop' in step) {
            const popped = heap.pop();
            twin = twin.filter(({ item }) => item !== popped);
          } else if (picked !== undefined && 'remove' in step) {
            expect(heap.remove(picked)).to.equal(true);
            expect(heap.remove(picked)).to.equal(false);
            twin = twin.filter((node) => node !== picked);
          } else if (picked !== undefined && 'move' in step) {
            picked.item.key = step.to;
            heap.moved(picked);
          }
          expect(heap.size).to.equal(twin.length);
          const smallest = twin.length === 0 ? undefined : Math.min(...twin.map(({ item }) => item.key));
          expect(heap.peek()?.key).to.equal(smallest);
        }
        expect([...heap.items()].length).to.equal(twin.length);
      }),
    );
  });
});
