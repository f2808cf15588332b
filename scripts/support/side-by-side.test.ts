import { expect } from 'chai';
import { sideBySide } from './side-by-side.ts';

describe('jobs side by side', () => {
  it('show what they write in the order of the jobs, the first one at once', async () => {
    const written: string[] = [];
    const first = Promise.withResolvers<void>();
    const second = Promise.withResolvers<void>();
    const run = sideBySide(
      [
        async (show) => {
          show('a');
          await second.promise;
          expect(written).to.deep.equal(['a']);
          show('A');
          first.resolve();
        },
        async (show) => {
          show('b');
          show('B');
          second.resolve();
        },
        async (show) => {
          await first.promise;
          show('c');
        },
      ],
      2,
      (text) => text !== '' && written.push(text),
    );
    await run;
    expect(written).to.deep.equal(['a', 'A', 'bB', 'c']);
  });

  it('are no more at once than may be, and give their results in order', async () => {
    let running = 0;
    let most = 0;
    const job = (result: number) => async (): Promise<number> => {
      running += 1;
      most = Math.max(most, running);
      for (let turn = 0; turn < 10 - result; turn += 1) await Promise.resolve();
      running -= 1;
      return result;
    };
    const results = await sideBySide([1, 2, 3, 4, 5, 6].map(job), 3, () => undefined);
    expect(results).to.deep.equal([1, 2, 3, 4, 5, 6]);
    expect(most).to.equal(3);
  });

  it('need not be any', async () => {
    expect(await sideBySide([], 2, () => undefined)).to.deep.equal([]);
  });
});
