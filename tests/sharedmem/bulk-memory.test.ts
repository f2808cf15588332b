import { expect } from 'chai';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { allocateMemory } from '#lib/sharedmem/mapped-memory.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { xxh3 } from '#native/tokens/index.ts';

const MIB = 1 << 20;

function patterned(bytes: number, seed: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i += 1) buffer[i] = (i * 31 + (i >> 8) * 7 + seed) & 255;
  return buffer;
}

describe('work on memory in bulk', () => {
  const bulk = new BulkMemory(hostMemory());

  it('gives the checksums of many ranges of every size', async () => {
    const buffer = patterned(5 * MIB + 17, 1);
    const sizes = [0, 1, 3, 16, 17, 128, 240, 241, 1024, 4097, 65_536, MIB, 3 * MIB + 5];
    const ranges = sizes.flatMap((bytes) => [0, 1, 4096, MIB].map((offset) => ({ offset, bytes })));
    const found = await bulk.checksums(buffer, ranges);
    const expected = ranges.map(({ offset, bytes }) => xxh3(buffer.subarray(offset, offset + bytes)));
    expect([...found]).to.deep.equal(expected);
    expect((await bulk.checksums(buffer, [])).length).to.equal(0);
  });

  it('copies pieces between buffers, and hashes what arrived', async () => {
    const from = patterned(6 * MIB, 2);
    const other = patterned(MIB, 3);
    for (const threads of [1, 8]) {
      const [plain, hashed] = [Buffer.alloc(8 * MIB, 9), Buffer.alloc(8 * MIB, 9)];
      const pieces = (to: Buffer) => [
        { from, fromOffset: 5, to, toOffset: 11, bytes: 5 * MIB + 3 },
        { from: other, fromOffset: 0, to, toOffset: 6 * MIB, bytes: 1000 },
        { from: other, fromOffset: 1000, to, toOffset: 7 * MIB, bytes: 0 },
        { from: other, fromOffset: 99, to, toOffset: 6 * MIB + 1000, bytes: 70_000 },
      ];
      const expected = Buffer.alloc(8 * MIB, 9);
      for (const { from: source, fromOffset, toOffset, bytes } of pieces(expected))
        source.copy(expected, toOffset, fromOffset, fromOffset + bytes);
      await bulk.copy(pieces(plain), { threads });
      const checksums = await bulk.copyAndChecksum(pieces(hashed), { threads });
      expect(plain.equals(expected)).to.equal(true);
      expect(hashed.equals(expected)).to.equal(true);
      const sums = pieces(expected).map(({ toOffset, bytes }) => xxh3(expected.subarray(toOffset, toOffset + bytes)));
      expect([...checksums]).to.deep.equal(sums);
    }
    await bulk.copy([]);
  });

  it('refuses ranges outside of their buffers', async () => {
    const buffer = Buffer.alloc(100);
    const wrong = [
      { offset: 0, bytes: 101 },
      { offset: 100, bytes: 1 },
      { offset: -1, bytes: 1 },
      { offset: 0, bytes: Number.NaN },
      { offset: Number.POSITIVE_INFINITY, bytes: 1 },
    ];
    for (const range of wrong) {
      const error = await bulk.checksums(buffer, [{ offset: 0, bytes: 1 }, range]).catch((thrown: unknown) => thrown);
      expect(error)
        .to.be.instanceOf(RangeError)
        .and.to.match(/Range 1 lies outside/);
    }
    const pieces = [{ from: buffer, fromOffset: 0, to: Buffer.alloc(9), toOffset: 0, bytes: 10 }];
    expect(await bulk.copy(pieces).catch((thrown: unknown) => thrown)).to.be.instanceOf(RangeError);
  });

  it('stops between pieces when it is cancelled', async () => {
    await using memory = allocateMemory(64 * MIB, hostMemory());
    const controller = new AbortController();
    const ranges = Array.from({ length: 2000 }, () => ({ offset: 0, bytes: 64 * MIB }));
    const running = bulk.checksums(memory.buffer, ranges, { signal: controller.signal }).catch((e: unknown) => e);
    controller.abort();
    expect(await running).to.include({ code: 'cancelled' });
    const late = await bulk.checksums(memory.buffer, ranges, { signal: controller.signal }).catch((e: unknown) => e);
    expect(late).to.include({ code: 'cancelled' });
  });

  it('lets small work pass large work', async () => {
    await using memory = allocateMemory(64 * MIB, hostMemory());
    const controller = new AbortController();
    let ended = false;
    const ranges = Array.from({ length: 2000 }, () => ({ offset: 0, bytes: 64 * MIB }));
    const large = bulk
      .checksums(memory.buffer, ranges, { signal: controller.signal, threads: 64 })
      .catch(() => {})
      .finally(() => (ended = true));
    await bulk.checksums(memory.buffer, [{ offset: 0, bytes: 10 }]);
    expect(ended).to.equal(false);
    controller.abort();
    await large;
  });
});
