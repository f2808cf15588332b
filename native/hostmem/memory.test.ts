import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readlinkSync, rmSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { hostMemory } from './index.ts';

const MIB = 1 << 20;
const kinds = { copy: 0, checksum: 1, copyAndChecksum: 2 };

/** Words of a control file, as lib/transfer/shm/control-file.ts writes it: magic, process, then slots of id, address, bytes. */
function lend(file: string, slots: readonly (readonly [id: bigint, buffer: Uint8Array])[]): number {
  const fd = openSync(file, 'wx+', 0o600);
  const header = Buffer.alloc(64 + 24 * slots.length);
  header.writeBigUInt64LE(0x31304d4854415453n, 0);
  header.writeBigUInt64LE(BigInt(process.pid), 8);
  for (const [index, [id, buffer]] of slots.entries()) {
    header.writeBigUInt64LE(id, 64 + 24 * index);
    header.writeBigUInt64LE(hostMemory().address(buffer), 72 + 24 * index);
    header.writeBigUInt64LE(BigInt(buffer.length), 80 + 24 * index);
  }
  writeSync(fd, header, 0, header.length, 0);
  expect(hostMemory().own(fd)).to.equal(true);
  return fd;
}

/** How often this process has a file open. */
function openings(file: string): number {
  const opened = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The one that listed them.
      return '';
    }
  });
  return opened.filter((each) => each === file).length;
}

describe('memory of this host', function () {
  this.timeout(60_000);
  const addon = hostMemory();
  const file = `/dev/shm/stator-test-${randomBytes(8).toString('hex')}`;

  afterEach(() => rmSync(file, { force: true }));

  it('is copied and hashed by many jobs at once, and let go of under them', async () => {
    for (let round = 0; round < 10; round++) {
      const [from, to] = [addon.allocate(8 * MIB), addon.allocate(8 * MIB)];
      from.fill(round + 1);
      const words = Float64Array.from({ length: 8 * 5 }, (_, at) => [0, (at / 5) | 0, 1, (at / 5) | 0, 1][at % 5] ?? 0);
      for (let piece = 0; piece < 8; piece++) words.set([0, piece * MIB, 1, piece * MIB, MIB], piece * 5);
      const jobs = Object.values(kinds).map((kind) => addon.bulk(kind, [from, to], words, 1 + (round % 8)));
      const canceled = addon.bulk(kinds.copyAndChecksum, [from, to], words, 2);
      canceled.cancel();
      const released = [addon.release(from), addon.release(to)];
      expect([from.length, to.length]).to.deep.equal([0, 0]);
      const [copied, summed, both] = await Promise.all(jobs.map(({ done }) => done));
      expect([copied?.length, summed?.length]).to.deep.equal([0, 8]);
      expect(summed).to.deep.equal(both);
      await canceled.done;
      expect(await Promise.all(released)).to.deep.equal([true, true]);
    }
  });

  it('refuses words that lead elsewhere', () => {
    const buffer = Buffer.alloc(10);
    for (const words of [
      [0, 0, 0, 0, 11],
      [1, 0, 0, 0, 1],
      [0, -1, 0, 0, 1],
      [0, 0, 0, 0, Number.NaN],
      [0, 9, 0, 0, 2],
    ])
      expect(() => addon.bulk(kinds.checksum, [buffer], Float64Array.from(words), 1)).to.throw(RangeError);
    expect(() => addon.bulk(kinds.checksum, [buffer], new Float64Array(4), 1)).to.throw(RangeError);
    expect(() => addon.bulk(kinds.copy, [buffer], Float64Array.of(0, 0, 3, 0, 1), 1)).to.throw(RangeError);
  });

  it('is read out of a lender in small and large pieces, and not when it was taken back', async () => {
    const lent = addon.allocate(24 * MIB).fill(5);
    const fd = lend(file, [[7n, lent]]);
    const lender = addon.openLender(file);
    if (lender === null) return expect.fail('its control file cannot be opened');
    const copy = async (write: boolean, timeoutMs: number, here: Buffer, words: Float64Array, threads: number) => {
      const running = addon.copy(lender, write, timeoutMs, [here], words, threads);
      return typeof running === 'string' ? running : running.done;
    };
    for (const bytes of [1, 4096, 200_000, 3 * MIB, 24 * MIB]) {
      const here = addon.allocate(24 * MIB);
      const words = Float64Array.of(0, 7, 0, 0, 0, bytes);
      expect(await copy(false, 5000, here, words, 4)).to.equal('');
      expect(here.subarray(0, bytes).every((byte) => byte === 5)).to.equal(true);
    }
    const many = Float64Array.from(
      { length: 6 * 3000 },
      (_, at) => [0, 7, 0, 1000 * ((at / 6) | 0), 1000 * ((at / 6) | 0), 999][at % 6] ?? 0,
    );
    expect(await copy(true, 5000, addon.allocate(4 * MIB).fill(6), many, 3)).to.equal('');
    expect([lent[998], lent[999], lent[2_999_998]]).to.deep.equal([6, 5, 6]);
    const ask = (id: number, offset: number, timeoutMs = 5000) =>
      copy(false, timeoutMs, Buffer.alloc(10), Float64Array.of(0, id, 0, 0, offset, 10), 1);
    expect([await ask(8, 0), await ask(7, 24 * MIB - 9), await ask(7, 0, 0)]).to.deep.equal([
      'revoked',
      'outside',
      'late',
    ]);
    closeSync(fd);
    expect(await ask(7, 0)).to.equal('gone');
    addon.closeLender(lender);
    expect(() => addon.copy(lender, false, 5000, [lent], new Float64Array(0), 1)).to.throw(TypeError);
    rmSync(file);
    expect(addon.openLender(file)).to.equal(null);
  });

  it('does not keep the file of a lender open for the handle of a copy that has ended', async () => {
    const lent = addon.allocate(4 * MIB).fill(5);
    const fd = lend(file, [[7n, lent]]);
    const lender = addon.openLender(file);
    if (lender === null) return expect.fail('its control file cannot be opened');
    const before = openings(file);
    const running = addon.copy(
      lender,
      true,
      60_000,
      [addon.allocate(4 * MIB)],
      Float64Array.of(0, 7, 0, 0, 0, 4 * MIB),
      2,
    );
    expect(await (typeof running === 'string' ? running : running.done)).to.equal('');
    addon.closeLender(lender);
    expect(openings(file)).to.equal(before - 1);
    if (typeof running !== 'string') running.cancel();
    closeSync(fd);
  });

  it('does not outlive the thread or process that works on it', async () => {
    const code = `
      const { createRequire } = require('node:module');
      const addon = createRequire(${JSON.stringify(import.meta.url)})('./build/Release/hostmem.node');
      const memory = addon.allocate(64 << 20);
      const words = Float64Array.from({ length: 5 * 2000 }, (_, at) => (at % 5 === 4 ? 64 << 20 : 0));
      addon.bulk(1, [memory], words, 8);
      addon.openShared(${JSON.stringify(file)}, 64 << 20, true);
      setTimeout(() => process.exit(3), 50);`;
    const worker = new Worker(code, { eval: true });
    expect((await once(worker, 'exit'))[0]).to.equal(3);
    const buffer = addon.allocate(1000);
    expect((await addon.bulk(1, [buffer], Float64Array.of(0, 0, 0, 0, 1000), 1).done)?.length).to.equal(1);
    rmSync(file, { force: true });
    const child = spawn(process.execPath, ['-e', code], { stdio: 'inherit' });
    expect((await once(child, 'exit'))[0]).to.equal(3);
  });

  it('is a file only when all of it is there', async () => {
    const opening = addon.openShared(file, 512 * MIB, true);
    opening.cancel();
    const { problem, buffer } = await opening.done;
    expect([problem, buffer, existsSync(file)]).to.deep.equal(['canceled', null, false]);
    const opened = await addon.openShared(file, 5 * MIB, true).done;
    const held = addon.hold(opened.buffer ?? Buffer.alloc(0));
    expect(await addon.populate(opened.buffer ?? Buffer.alloc(0), 4).done).to.equal(0);
    const released = addon.release(opened.buffer ?? Buffer.alloc(0));
    held();
    expect(await released).to.equal(true);
  });
});
