import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { batchTime, decodeEventBatch } from './decode-batch.ts';
import type { EngineBlocksRemoved, EngineBlocksStored, EngineEvent, EventOrigin } from './engine-event.ts';
import { MsgpackError } from './msgpack-reader.ts';

const file = new URL('../../tests/fixtures/kv-events/batches.json', import.meta.url);
const batches: { name: string; hex: string }[] = JSON.parse(readFileSync(file, 'utf8'));

function payload(name: string): Uint8Array {
  const found = batches.find((batch) => batch.name === name);
  if (found === undefined) throw new Error(`no fixture ${name}`);
  return Buffer.from(found.hex, 'hex');
}

const events = (name: string): readonly EngineEvent[] => decodeEventBatch(payload(name)).events;
const storedOf = (event: EngineEvent | undefined): EngineBlocksStored => {
  if (event?.type !== 'stored') throw new Error(`not stored: ${event?.type}`);
  return event;
};
const removedOf = (event: EngineEvent | undefined): EngineBlocksRemoved => {
  if (event?.type !== 'removed') throw new Error(`not removed: ${event?.type}`);
  return event;
};
const nowhere: EventOrigin = {
  medium: null,
  cacheGroup: null,
  cacheKind: null,
  slidingWindow: null,
  locality: null,
  ownership: null,
};
const gpu = { ...nowhere, medium: 'GPU' };
const tokens = Array.from({ length: 12 }, (_, i) => i + 1);

describe('engine event batches', () => {
  for (const form of ['array of integers', 'array of bytes', 'map of integers', 'map of bytes', 'maps in an array'])
    describe(`vLLM, ${form}`, () => {
      // Low 64 bits of SHA-256 of "block 0", "block 1", "block 2".
      const ids = [0x37077017bbe0e947n, 0xb278992a3967c67fn, 0x7c8b78de5eed6ea5n];
      const all = (name: string): readonly EngineEvent[] => events(`${form}: ${name}`);
      const batch = (name: string) => decodeEventBatch(payload(`${form}: ${name}`));

      it('stores', () => {
        const { timestamp, dataParallelRank, malformed } = batch('stored');
        expect({ timestamp, dataParallelRank, malformed }).to.deep.equal({
          timestamp: 1722.25,
          dataParallelRank: 0,
          malformed: [],
        });
        expect(all('stored')).to.deep.equal([
          {
            type: 'stored',
            blockHashes: BigUint64Array.from(ids),
            parentHash: null,
            tokenIds: Uint32Array.from(tokens),
            blockSize: 4,
            eagle: false,
            adapter: '',
            adapterId: null,
            cacheSalt: '',
            media: null,
            sessionId: null,
            origin: gpu,
          },
        ]);
      });

      it('stores after a parent', () => {
        const event = storedOf(all('extended')[0]);
        expect(batch('extended').dataParallelRank).to.equal(null);
        expect(event.parentHash).to.equal(ids[2]);
        expect([...event.tokenIds]).to.deep.equal([100_000, 65_535, 65_536, 2 ** 31]);
      });

      it('tells adapters and cache salts', () => {
        const [adapter, salted, child] = all('adapter and salt').map(storedOf);
        expect([adapter?.adapter, adapter?.adapterId, adapter?.cacheSalt]).to.deep.equal(['lora-a', 1, '']);
        expect([salted?.adapter, salted?.cacheSalt]).to.deep.equal(['', 'tenant-a']);
        expect([child?.cacheSalt, child?.parentHash]).to.deep.equal(['', salted?.blockHashes[0]]);
      });

      it('tells cache groups', () => {
        const [full, sliding, gone] = all('hybrid').map((event) => event.type !== 'ignored' && event.origin);
        expect(full).to.deep.equal({ ...gpu, cacheGroup: 0, cacheKind: 'full_attention' });
        expect(sliding).to.deep.equal({ ...gpu, cacheGroup: 1, cacheKind: 'sliding_window', slidingWindow: 4096 });
        expect(gone).to.deep.equal({ ...gpu, cacheGroup: 1 });
      });

      it('removes and clears', () => {
        const [two, one, none] = all('removed').map(removedOf);
        expect([two?.blockHashes, two?.origin]).to.deep.equal([BigUint64Array.from(ids.slice(0, 2)), gpu]);
        expect(one?.origin.medium).to.equal('CPU');
        expect([none?.blockHashes.length, none?.origin]).to.deep.equal([0, nowhere]);
        expect(all('cleared')).to.deep.equal([{ type: 'cleared', origin: nowhere }]);
      });

      it('tells media that carry a marker', () => {
        expect(storedOf(all('media')[0]).media).to.deep.equal({
          blocks: Uint32Array.of(1, 1, 2),
          hashes: BigUint64Array.of(2n ** 64n - 1n, 9533257059414191570n, 7n),
        });
      });

      it('tells its time without being decoded', () => {
        expect(batchTime(payload(`${form}: removed`))).to.equal(1726);
      });
    });

  it('reads SGLang: positions that end early, pairs of tokens with Eagle, a salt in place of the adapter', () => {
    const [first, gone] = events('sglang: positions');
    expect(storedOf(first).blockHashes).to.deep.equal(BigUint64Array.of(2n ** 64n - 5n, 6n));
    expect(storedOf(first).parentHash).to.equal(7n);
    expect(removedOf(gone).blockHashes).to.deep.equal(BigUint64Array.of(2n ** 64n - 5n));
    const eagle = storedOf(events('sglang: eagle pairs')[0]);
    expect([eagle.eagle, [...eagle.tokenIds]]).to.deep.equal([true, [...tokens, 13]]);
    const salted = storedOf(events('sglang: salt')[0]);
    expect([salted.adapter, salted.cacheSalt]).to.deep.equal(['', 'tenant-a']);
  });

  it('keeps 64-bit hashes exact, whatever their sign', () => {
    const event = storedOf(events('signed and unsigned')[0]);
    expect([...event.blockHashes]).to.deep.equal([2n ** 64n - 1n, 2n ** 63n, 2n ** 63n]);
    expect(event.parentHash).to.equal(2n ** 64n - 1n);
  });

  it('reads every key of a map and passes over unknown ones', () => {
    expect(decodeEventBatch(payload('every key')).dataParallelRank).to.equal(3);
    const event = storedOf(events('every key')[0]);
    expect(event).to.deep.include({ adapter: 'lora-a', cacheSalt: 'tenant-a', sessionId: 'session-1', eagle: false });
    expect(event.media).to.deep.equal({
      blocks: Uint32Array.of(1, 1),
      hashes: BigUint64Array.of(7n, 2n ** 64n - 1n),
    });
    expect(event.origin).to.deep.equal({ ...gpu, cacheGroup: 2, cacheKind: 'mla_attention', locality: 'LOCAL' });
    expect(storedOf(events('eagle')[0]).eagle).to.equal(true);
  });

  it('tells what is not the worker’s own, and what wants to be ignored', () => {
    const origins = events('not ours').map((event) => (event.type === 'ignored' ? 'ignored' : event.origin));
    expect(origins).to.deep.equal([
      { ...gpu, cacheGroup: 2, cacheKind: 'mla_attention', locality: 'REMOTE' },
      { ...gpu, cacheGroup: 2, cacheKind: 'mla_attention', locality: 'LOCAL', ownership: 'kvcr' },
      'ignored',
      'ignored',
    ]);
  });

  it('reads the tails of positional events, old and new', () => {
    const tail = (name: string) => storedOf(events(name)[0]);
    expect(tail('tail with media').media?.hashes).to.deep.equal(BigUint64Array.of(7n, 2n ** 64n - 1n));
    expect(tail('tail with media').origin).to.deep.equal({
      ...nowhere,
      cacheGroup: 1,
      cacheKind: 'full_attention',
      slidingWindow: 128,
    });
    expect(tail('tail in its order').origin).to.deep.equal({
      medium: null,
      cacheGroup: 1,
      cacheKind: 'sliding_window',
      slidingWindow: 128,
      locality: 'REMOTE',
      ownership: 'kvcr',
    });
    expect(tail('tail with gaps').origin.cacheKind).to.equal('mamba');
    expect(tail('tail without gaps').origin.cacheKind).to.equal('mamba');
    expect(removedOf(events('removed with a tail')[0]).origin).to.deep.equal({
      ...nowhere,
      medium: 'CPU',
      cacheGroup: 1,
      cacheKind: 'full_attention',
      locality: 'LOCAL',
    });
  });

  it('leaves out what it cannot understand and keeps the rest', () => {
    const { events: good, malformed } = decodeEventBatch(payload('bad among good'));
    expect(good.map((event) => event.type)).to.deep.equal(['removed', 'stored']);
    expect(malformed).to.have.length(3);
    expect(malformed[1]).to.contain('unknown type Other');
  });

  it('reads batches that grew, and batches that are maps', () => {
    expect(decodeEventBatch(payload('longer than known'))).to.deep.include({ timestamp: 1.5, dataParallelRank: 0 });
    expect(decodeEventBatch(payload('map of the future'))).to.deep.include({ timestamp: 2.5, dataParallelRank: 4 });
    expect(events('map of the future')).to.have.length(1);
  });

  it('refuses what is no batch', () => {
    for (const hex of ['', 'c0', '90', '91cb3ff8000000000000', '93a0a0a0', '80', 'c1', 'dd00ffffff00', '81a27473'])
      expect(() => decodeEventBatch(Buffer.from(hex, 'hex')), hex).to.throw(MsgpackError);
    expect(batchTime(Buffer.from('93a0a0a0', 'hex'))).to.equal(null);
  });
});
