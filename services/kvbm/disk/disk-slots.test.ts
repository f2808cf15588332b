import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import type { BlockHeader } from '#core/blocks/record/block-header.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { openCipher } from '../stored/cipher.ts';
import { pageBytes } from '../stored/page.ts';
import { Sealing } from '../stored/sealing.ts';
import { alignedBytes, isPageAligned } from './aligned.ts';
import { DiskSlots } from './disk-slots.ts';
import { nodeFiles, type SlotFileSystem } from './files.ts';
import { Segments } from './segments.ts';

const blockBytes = 10_000;
const slotBytes = pageBytes + 3 * 4096;

function headerOf(plain: Uint8Array, overrides: Partial<BlockHeader> = {}): BlockHeader {
  return {
    epoch: 1,
    generation: 4,
    namespaceDigest: Uint32Array.of(1, 2, 3, 4),
    modelDigest: 5n,
    layout: 6,
    dtype: 7,
    blockTokens: 16,
    digest: Uint32Array.from(randomBytes(16)).slice(0, 4),
    sequenceHash: 8n,
    position: 0,
    parent: null,
    priority: 0,
    isEncrypted: false,
    payloadBytes: plain.length,
    payloadChecksum: xxh3(plain),
    ...overrides,
  };
}

/** A block as it stands in host memory: aligned, with room to the end of its last page. */
function room(bytes = blockBytes): { all: Uint8Array; plain: Uint8Array } {
  const all = alignedBytes(slotBytes - pageBytes);
  all.set(randomBytes(all.length));
  return { all, plain: all.subarray(0, bytes) };
}

describe('slots on disk', () => {
  let folder: string;
  let segments: Segments;

  async function keys(...lines: string[]): Promise<string> {
    const file = path.join(folder, 'keys');
    const handle = await open(file, 'w');
    await handle.writeFile(lines.join('\n'));
    await handle.close();
    return file;
  }

  async function slots(o: { keyFile?: string; files?: SlotFileSystem; count?: number } = {}): Promise<DiskSlots> {
    const count = o.count ?? 10;
    segments = new Segments({
      folder,
      slots: count,
      slotBytes,
      segmentBytes: 4 * slotBytes,
      files: o.files ?? nodeFiles(),
      allocate: alignedBytes,
      preallocate: async () => false,
      nowMs: () => 0,
    });
    await segments.existing();
    const cipher = o.keyFile === undefined ? undefined : await openCipher(o.keyFile, xxh3);
    const sealing = new Sealing({ checksum: async (bytes) => xxh3(bytes), cipher, wallMs: () => 1 });
    const parts = { segments, slotBytes, sealing, hash: xxh3, concurrency: 3 };
    return new DiskSlots({ ...parts, allocate: alignedBytes, isAligned: isPageAligned });
  }

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'stator-disk-'));
  });
  afterEach(async () => {
    await segments.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('give back what was written, also in another life, from memory at any address', async () => {
    const disk = await slots();
    const [a, b] = [room(), room()];
    const unaligned = new Uint8Array(slotBytes).subarray(3, 3 + blockBytes);
    unaligned.set(b.plain);
    expect(await disk.write(0, headerOf(a.plain), a.all)).to.equal(true);
    expect(await disk.write(9, headerOf(b.plain), unaligned)).to.equal(true);
    await segments.close();
    const again = await slots();
    for (const [slot, block] of [
      [0, a],
      [9, b],
    ] as const) {
      const target = room();
      const read = await again.read(slot, { payloadBytes: blockBytes }, target.all);
      expect(read.rejection).to.equal(undefined);
      expect(Buffer.compare(target.plain, block.plain)).to.equal(0);
      const bare = new Uint8Array(blockBytes + 1).subarray(1);
      expect((await again.read(slot, { payloadBytes: blockBytes }, bare)).rejection).to.equal(undefined);
      expect(Buffer.compare(bare, block.plain)).to.equal(0);
    }
    expect(again.pending).to.equal(0);
  });

  it('are written together where neighbours wait, within a file and up to a gap', async () => {
    const writes: { file: string; position: number; bytes: number }[] = [];
    const plain = nodeFiles();
    let refused = false;
    const open = async (file: string) => {
      const opened = await plain.open(file);
      const write: typeof opened.write = async (buffers, position) => {
        const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
        writes.push({ file: path.basename(file), position: position / slotBytes, bytes: bytes / slotBytes });
        if (refused) throw Object.assign(new Error('the disk fails'), { code: 'EIO' });
        await opened.write(buffers, position);
      };
      return {
        isDirect: opened.isDirect,
        read: opened.read.bind(opened),
        write,
        size: opened.size.bind(opened),
        close: opened.close.bind(opened),
      };
    };
    const disk = await slots({ files: { ...plain, open } });
    await Promise.all([0, 4, 8].map((slot) => disk.readPage(slot)));
    writes.length = 0;
    // Block 6 is short, so that block 7 does not follow it.
    const blocks = Array.from({ length: 10 }, (_, slot) => room(slot === 6 ? 100 : blockBytes));
    const write = async (slot: number): Promise<boolean> => {
      const block = blocks[slot] ?? room();
      return disk.write(slot, headerOf(block.plain), block.all);
    };
    expect(await Promise.all([0, 8, 3, 2, 1, 4, 5, 6, 7, 9].map(write))).to.not.include(false);
    expect(writes).to.deep.include.members([{ file: 'slots-00001.kv', position: 3, bytes: 1 }]);
    expect(writes.map(({ position, bytes }) => position + bytes).every((end) => end <= 4)).to.equal(true);
    expect(writes.length).to.be.lessThan(10);
    for (const [slot, { plain: bytes }] of blocks.entries()) {
      const target = room();
      expect((await disk.read(slot, { payloadBytes: bytes.length }, target.all)).rejection).to.equal(undefined);
      expect(Buffer.compare(target.all.subarray(0, bytes.length), bytes)).to.equal(0);
    }
    refused = true;
    const failures = await Promise.allSettled([0, 1, 2, 3].map(write));
    expect(failures.map(({ status }) => status)).to.deep.equal(new Array(4).fill('rejected'));
    refused = false;
    expect(await write(2)).to.equal(true);
    expect(disk.pending).to.equal(0);
  });

  it('leave what follows a block in memory alone', async () => {
    const disk = await slots();
    const { all, plain } = room();
    await disk.write(0, headerOf(plain), all);
    const target = alignedBytes(4 * 4096).fill(0xaa);
    await disk.read(0, { payloadBytes: blockBytes }, target.subarray(0, blockBytes));
    expect(target.subarray(blockBytes).every((byte) => byte === 0xaa)).to.equal(true);
  });

  it('do not write a block whose bytes changed, and do not believe bytes that changed on disk', async () => {
    const disk = await slots();
    const { all, plain } = room();
    const header = headerOf(plain);
    plain[5] = (plain[5] ?? 0) ^ 1;
    expect(await disk.write(1, header, all)).to.equal(false);
    expect(await disk.readPage(1)).to.deep.equal({ rejection: 'empty' });
    plain[5] = (plain[5] ?? 0) ^ 1;
    await disk.write(1, header, all);
    await segments.close();
    const file = await open(path.join(folder, 'slots-00000.kv'), 'r+');
    await file.write(Buffer.from('spoilt'), 0, 6, slotBytes + pageBytes + 9000);
    await file.close();
    const again = await slots();
    const target = room();
    expect(await again.read(1, { payloadBytes: blockBytes }, target.all)).to.deep.equal({
      rejection: 'payload_checksum',
    });
    expect(await again.read(1, { payloadBytes: blockBytes, layout: 9 }, target.all)).to.deep.equal({
      rejection: 'wrong_layout',
    });
  });

  it('hold full-sized files of bounded size, and drop those beyond what there is room for', async () => {
    const disk = await slots();
    const { all, plain } = room();
    for (const slot of [0, 5, 9]) await disk.write(slot, headerOf(plain), all);
    const sizes = await Promise.all(
      (await readdir(folder)).sort().map(async (name) => (await stat(path.join(folder, name))).size),
    );
    expect(sizes).to.deep.equal([4 * slotBytes, 4 * slotBytes, 2 * slotBytes]);
    await segments.close();
    await slots({ count: 4 });
    expect(await readdir(folder)).to.deep.equal(['slots-00000.kv']);
  });

  it('encrypt, open with any key of the file, and name a key that is missing', async () => {
    const [old, fresh] = [randomBytes(32).toString('hex'), randomBytes(32).toString('base64')];
    const { all, plain } = room();
    await (await slots({ keyFile: await keys(old) })).write(2, headerOf(plain), all);
    await segments.close();
    const target = room();
    const both = await slots({ keyFile: await keys(fresh, old) });
    expect((await both.read(2, { payloadBytes: blockBytes }, target.all)).rejection).to.equal(undefined);
    expect(Buffer.compare(target.plain, plain)).to.equal(0);
    const raw = await open(path.join(folder, 'slots-00000.kv'));
    const bytes = (await raw.read(Buffer.alloc(slotBytes), 0, slotBytes, 2 * slotBytes)).buffer;
    await raw.close();
    expect(bytes.includes(Buffer.from(plain.subarray(100, 132)))).to.equal(false);
    await segments.close();
    const other = await slots({ keyFile: await keys(fresh) });
    expect(await other.read(2, { payloadBytes: blockBytes }, target.all)).to.deep.equal({ rejection: 'wrong_key' });
    await other.write(3, headerOf(plain), all);
    await segments.close();
    const none = await slots();
    expect(await none.read(3, { payloadBytes: blockBytes }, target.all)).to.deep.equal({ rejection: 'wrong_key' });
    await none.write(4, headerOf(plain), all);
    await segments.close();
    const strict = await slots({ keyFile: await keys(fresh) });
    expect(await strict.read(4, { payloadBytes: blockBytes }, target.all)).to.deep.equal({
      rejection: 'not_encrypted',
    });
  });

  it('do not open encrypted bytes under the record of another block', async () => {
    const key = randomBytes(32).toString('hex');
    const disk = await slots({ keyFile: await keys(key) });
    const { all, plain } = room();
    await disk.write(0, headerOf(plain), all);
    await disk.write(1, headerOf(plain), all);
    await segments.close();
    const file = await open(path.join(folder, 'slots-00000.kv'), 'r+');
    // The checksum of bytes in clear would notice; a forger makes it fit.
    const { buffer } = await file.read(Buffer.alloc(slotBytes), 0, slotBytes, 0);
    const page = new Uint8Array(buffer.subarray(0, pageBytes));
    const view = new DataView(page.buffer);
    view.setUint32(40, 123, true);
    view.setBigUint64(8, xxh3(page.subarray(16, 128)), true);
    await file.write(page, 0, pageBytes, 0);
    await file.close();
    const again = await slots({ keyFile: await keys(key) });
    expect(await again.read(0, { payloadBytes: blockBytes }, room().all)).to.deep.equal({ rejection: 'broken_seal' });
  });

  it('erase records, and bytes where they must go', async () => {
    const disk = await slots();
    const { all, plain } = room();
    await disk.write(0, headerOf(plain), all);
    expect(await disk.erase(0, ({ page }) => page?.header.generation === 5)).to.equal(false);
    expect(await disk.erase(0, ({ page }) => page?.header.generation === 4)).to.equal(true);
    expect(await disk.readPage(0)).to.deep.equal({ rejection: 'empty' });
    await segments.close();
    const file = await open(path.join(folder, 'slots-00000.kv'));
    const { buffer } = await file.read(Buffer.alloc(slotBytes), 0, slotBytes, 0);
    await file.close();
    expect(buffer.every((byte) => byte === 0)).to.equal(true);
  });

  it('refuse key files that hold no keys, without showing them', async () => {
    for (const [lines, message] of [
      [[], 'no key'],
      [['c2VjcmV0'], 'key 1'],
    ] as const) {
      const thrown = await openCipher(await keys(...lines), xxh3).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!(thrown instanceof StatorError)) throw new Error('no error');
      expect(thrown.message).to.include(message);
      expect(thrown.message).not.to.include('c2VjcmV0');
    }
  });
});
