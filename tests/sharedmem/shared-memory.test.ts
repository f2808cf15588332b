import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'chai';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { allocateMemory } from '#lib/sharedmem/mapped-memory.ts';
import { openSharedMemory, type SharedMemory } from '#lib/sharedmem/shared-memory.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';

const MIB = 1 << 20;
const MAKER_BYTES = 2048 * MIB;
const fixture = path.join(import.meta.dirname, 'other-process.fixture.ts');

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'it worked',
    (error: { code?: unknown }) => error.code ?? error,
  );
}

/** How often this process maps a file. */
function mappings(file: string): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(file)).length;
}

describe('shared memory', () => {
  const addon = hostMemory();
  let folder: string;
  let file: string;

  beforeEach(() => {
    folder = mkdtempSync('/dev/shm/stator-test-');
    file = path.join(folder, 'slab');
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function open(bytes: number, create: boolean): Promise<SharedMemory> {
    return openSharedMemory({ path: file, bytes, create }, addon);
  }

  it('makes a file of its own with all of its memory, once', async () => {
    await using first = await open(3 * MIB + 5, true);
    expect(first).to.include({ created: true, path: file, pageBytes: 4096 });
    expect(first.buffer.length).to.equal(3 * MIB + 5);
    expect(first.buffer.every((byte) => byte === 0)).to.equal(true);
    const status = statSync(file);
    expect(status.mode & 0o777).to.equal(0o600);
    expect(status.blocks * 512).to.be.at.least(3 * MIB + 5);
    await using second = await open(3 * MIB + 5, true);
    await using third = await open(0, false);
    expect(second.created).to.equal(false);
    first.buffer[3 * MIB] = 77;
    expect(second.buffer[3 * MIB]).to.equal(77);
    expect(third.buffer.length).to.equal(3 * MIB + 4096);
    expect(third.buffer[3 * MIB]).to.equal(77);
    expect(readdirSync(folder)).to.deep.equal(['slab']);
  });

  it('is made by one of several that try at once', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => open(4 * MIB, true)));
    expect(all.filter(({ created }) => created)).to.have.length(1);
    for (const [index, { buffer }] of all.entries()) buffer[index] = index + 1;
    expect([...(all[0]?.buffer.subarray(0, 8) ?? [])]).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8]);
    await Promise.all(all.map((each) => each.close()));
  });

  it('refuses files that are missing, foreign, linked, open to others or of another size', async () => {
    expect(await codeOf(open(MIB, false))).to.equal('not_found');
    expect(await codeOf(open(0, true))).to.equal('invalid_argument');
    expect(await codeOf(open(1.5, true))).to.equal('invalid_argument');
    const elsewhere = { path: path.join(folder, 'none', 'slab'), bytes: 1, create: true };
    expect(await codeOf(openSharedMemory(elsewhere, addon))).to.equal('not_found');
    await (await open(MIB, true)).close();
    expect(await codeOf(open(MIB + 4096, false))).to.equal('conflict');
    expect(await codeOf(open(MIB + 4096, true))).to.equal('conflict');
    const link = path.join(folder, 'link');
    symlinkSync(file, link);
    expect(await codeOf(openSharedMemory({ path: link, bytes: MIB, create: true }, addon))).to.equal(
      'permission_denied',
    );
    expect(await codeOf(openSharedMemory({ path: folder, bytes: 0, create: false }, addon))).to.equal('conflict');
    chmodSync(file, 0o640);
    expect(await codeOf(open(MIB, false))).to.equal('permission_denied');
    chmodSync(file, 0o600);
    truncateSync(file, MIB / 2);
    expect(await codeOf(open(MIB, false))).to.equal('conflict');
    truncateSync(file, 0);
    expect(await codeOf(open(0, false))).to.equal('conflict');
  });

  it('refuses what does not fit instead of failing later', async () => {
    const before = readdirSync(folder);
    const tooMuch = await open(2 ** 45, true).catch((error: unknown) => error);
    expect(tooMuch)
      .to.include({ code: 'overloaded' })
      .and.to.match(/do not fit/);
    expect(readdirSync(folder)).to.deep.equal(before);
  });

  it('fills the holes of a file that it opens', async () => {
    writeFileSync(file, '', { mode: 0o600 });
    truncateSync(file, 2 * MIB);
    await using memory = await open(2 * MIB, false);
    expect(memory.created).to.equal(false);
    expect(statSync(file).blocks * 512).to.be.at.least(2 * MIB);
  });

  it('can be cancelled and leaves nothing', async () => {
    const options = { path: file, bytes: 512 * MIB, create: true, signal: AbortSignal.abort() };
    expect(await codeOf(openSharedMemory(options, addon))).to.equal('cancelled');
    expect(readdirSync(folder)).to.deep.equal([]);
  });

  it('gets its pages beforehand and tells how far it is', async () => {
    await using memory = await open(40 * MIB, true);
    const seen: number[] = [];
    await memory.prefault({ onProgress: (bytes) => seen.push(bytes) });
    expect(seen.at(-1)).to.equal(40 * MIB);
    expect(await codeOf(memory.prefault({ signal: AbortSignal.abort() }))).to.equal('cancelled');
  });

  it('is gone for everyone when it is closed, and nothing crashes', async () => {
    const memory = await open(MIB, true);
    const view = memory.buffer.subarray(10, 20);
    await memory.close();
    await memory.close();
    expect(memory.buffer.length).to.equal(0);
    expect(view.length).to.equal(0);
    expect(memory.buffer[5]).to.equal(undefined);
    expect(() => memory.buffer.writeUInt32LE(1, 0)).to.throw(RangeError);
    expect(() => memory.hold()).to.throw(TypeError);
    const outside = new BulkMemory(addon).checksums(memory.buffer, [{ offset: 0, bytes: 1 }]);
    expect(await outside.catch((error: unknown) => error)).to.be.instanceOf(RangeError);
  });

  it('stays mapped under what runs on it', async () => {
    const bulk = new BulkMemory(addon);
    const memory = await open(64 * MIB, true);
    memory.buffer.fill(7);
    const ranges = Array.from({ length: 20 }, () => ({ offset: 0, bytes: 64 * MIB }));
    const running = bulk.checksums(memory.buffer, ranges);
    const held = memory.hold();
    let closed = false;
    const closing = memory.close().then(() => (closed = true));
    const sums = await running;
    const [expected] = await bulk.checksums(Buffer.alloc(64 * MIB, 7), [{ offset: 0, bytes: 64 * MIB }]);
    expect(sums.every((sum) => sum === expected)).to.equal(true);
    expect(closed).to.equal(false);
    held();
    await closing;
    expect(mappings(file)).to.equal(0);
  });

  it('is read and written by other processes, and outlives their death', async () => {
    await using memory = await open(8 * MIB, true);
    const other = spawn(process.execPath, ['--conditions=source', '--no-warnings', fixture, file, '8388608'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: other.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).to.equal('0');
    expect(memory.buffer[8 * MIB - 1]).to.equal(42);
    const exit = once(other, 'exit');
    other.kill('SIGKILL');
    await exit;
    memory.buffer[0] = 9;
    await using again = await open(8 * MIB, false);
    expect([again.buffer[0], again.buffer[8 * MIB - 1]]).to.deep.equal([9, 42]);
  });

  it('leaves no file behind when its maker is killed', async () => {
    const free = () => statfsSync(folder).bavail * 4096;
    const before = free();
    const maker = spawn(
      process.execPath,
      ['--conditions=source', '--no-warnings', fixture, file, String(MAKER_BYTES)],
      {
        stdio: ['pipe', 'pipe', 'ignore'],
      },
    );
    const lines = createInterface({ input: maker.stdout })[Symbol.asyncIterator]();
    void lines.next();
    await until('its beginning', () => free() < before - 100 * MIB);
    const exit = once(maker, 'exit');
    maker.kill('SIGKILL');
    await exit;
    // Whole or not at all.
    for (const name of readdirSync(folder)) {
      expect(name).to.equal('slab');
      expect(statSync(file).blocks * 512).to.be.at.least(MAKER_BYTES);
    }
  });

  it('lies in huge pages where its folder has some', async function () {
    const mount = /^\S+ (\S+) hugetlbfs /m.exec(readFileSync('/proc/mounts', 'utf8'))?.[1];
    const free = Number(/HugePages_Free:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0);
    if (mount === undefined || free < 4) skip(this, 'there is no hugetlbfs with four free pages');
    file = path.join(mount, `stator-test-${process.pid}`);
    try {
      await using memory = await open(5_000_000, true);
      await using again = await open(5_000_000, false);
      await memory.prefault();
      memory.buffer.fill(7);
      expect(again.buffer[4_999_999]).to.equal(7);
      expect(memory.pageBytes).to.be.at.least(2 * MIB);
      const tooMuch = openSharedMemory({ path: `${file}-2`, bytes: 2 ** 42, create: true }, addon);
      expect(await codeOf(tooMuch)).to.equal('overloaded');
    } finally {
      rmSync(file, { force: true });
    }
  });

  it('refuses files of other users', async function () {
    if (process.getuid?.() !== 0) skip(this, 'only root can give a file to another user');
    await (await open(MIB, true)).close();
    chownSync(file, 12_345, 12_345);
    expect(await codeOf(open(MIB, false))).to.equal('permission_denied');
  });
});

describe('staging memory', () => {
  it('lies on a boundary of 2 MiB and is given back', async () => {
    const addon = hostMemory();
    const memory = allocateMemory(5000, addon);
    expect(addon.address(memory.buffer) % 0x200000n).to.equal(0n);
    await memory.prefault();
    memory.buffer.fill(1);
    await memory.close();
    expect(memory.buffer.length).to.equal(0);
    expect(() => allocateMemory(0, addon)).to.throw(RangeError);
    expect(await addon.release(Buffer.alloc(1))).to.equal(false);
  });
});
