import { expect } from 'chai';
import { pino } from 'pino';
import type { KvHold, KvPrefix, PromptKeeper } from '../engine-kv.ts';
import { OffloadHolds } from './offload-holds.ts';

const log = pino({ level: 'silent' });

function prefix(...hashes: number[]): KvPrefix {
  return {
    tokenIds: new Uint32Array(hashes.length),
    sequenceHashes: BigUint64Array.from(hashes, BigInt),
    adapter: '',
    cacheSalt: '',
  };
}

/** An engine that answers when it is told to. */
class SlowKeeper implements PromptKeeper {
  readonly asked: PromiseWithResolvers<KvHold>[] = [];
  released = 0;

  hold(): Promise<KvHold> {
    const answer = Promise.withResolvers<KvHold>();
    this.asked.push(answer);
    return answer.promise;
  }

  answer(at: number): void {
    this.asked[at]?.resolve({ blocks: 1, release: () => void this.released++ });
  }
}

describe('OffloadHolds', () => {
  let unheld = 0;
  const holds = (keeper: PromptKeeper | undefined, maxBlocks: number) => {
    unheld = 0;
    const onUnheld = (blocks: number): void => {
      unheld += blocks;
    };
    return new OffloadHolds({ prompts: () => keeper, maxBlocks: () => maxBlocks, onUnheld, log });
  };

  it('counts blocks that prompts share once, and refuses what goes beyond the bound', () => {
    const keeper = new SlowKeeper();
    const all = holds(keeper, 4);
    const release = all.keep(prefix(1, 2, 3), 3);
    all.keep(prefix(1, 2, 4), 1);
    expect([all.blocks, unheld]).to.deep.equal([4, 0]);
    all.keep(prefix(1, 2, 5), 1)();
    expect([all.blocks, unheld, keeper.asked.length]).to.deep.equal([4, 1, 2]);
    release();
    release();
    expect(all.blocks).to.equal(3);
  });

  it('releases what the engine holds only after it was given up, and waits for that', async () => {
    const keeper = new SlowKeeper();
    const all = holds(keeper, 8);
    all.keep(prefix(1, 2), 2)();
    all.keep(prefix(3), 1);
    let closed = false;
    const closing = all.close().then(() => {
      closed = true;
    });
    expect(all.blocks).to.equal(0);
    keeper.answer(0);
    await keeper.asked[0]?.promise;
    expect(closed).to.equal(false);
    keeper.answer(1);
    await closing;
    expect([keeper.released, closed]).to.deep.equal([2, true]);
  });

  it('counts what the engine refuses to hold, and what no engine holds', async () => {
    const keeper = new SlowKeeper();
    const all = holds(keeper, 8);
    all.keep(prefix(1, 2), 2);
    keeper.asked[0]?.reject(new Error('no room'));
    await all.close();
    expect(unheld).to.equal(0);
    all.keep(prefix(1, 2), 2);
    keeper.asked[1]?.reject(new Error('no room'));
    await keeper.asked[1]?.promise.catch(() => {});
    await all.close();
    expect([unheld, all.blocks]).to.deep.equal([2, 0]);
    const none = holds(undefined, 8);
    none.keep(prefix(1, 2, 3), 3)();
    expect([unheld, none.blocks]).to.deep.equal([3, 0]);
  });
});
