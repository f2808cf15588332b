import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { findNixl, NO_NIXL } from '#tests/support/nixl.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';
import type { NixlAgent } from './agent.ts';
import type { Notification, RangeList } from './binding.d.ts';
import { isNixlError, type NixlError } from './errors.ts';
import { Nixl } from './index.ts';
import { addressOf, dramRanges, fileRanges, objectRanges, vramRanges } from './ranges.ts';

const MIB = 1 << 20;

function failureOf(promise: Promise<unknown>): Promise<NixlError> {
  return promise.then(
    () => expect.fail('expected a NixlError'),
    (error: unknown) => (isNixlError(error) ? error : expect.fail(String(error))),
  );
}

function whole(buffer: Uint8Array): RangeList {
  return dramRanges([{ address: addressOf(buffer), bytes: buffer.byteLength }]);
}

describe('without NIXL', () => {
  it('says that the library is missing, or is none', () => {
    expect(() => new Nixl('/nowhere/libnixl_capi.so'))
      .to.throw(/libnixl_capi\.so/)
      .that.includes({ name: 'NixlError', code: 'library_missing', field: 'library' });
    expect(() => new Nixl('libc.so.6'))
      .to.throw(/nixl_capi_create_configured_agent/)
      .that.includes({ code: 'library_unsuitable' });
    expect(() => new Nixl('a\0b')).to.throw(/NUL/);
  });
});

describe('NIXL agents', function () {
  this.timeout(60_000);
  let nixl: Nixl;
  let one: NixlAgent;
  let two: NixlAgent;
  const received: Notification[] = [];
  const here = Buffer.alloc(MIB);
  const there = Buffer.alloc(MIB);

  before(async function () {
    nixl = new Nixl(findNixl() ?? skip(this, NO_NIXL));
    one = await nixl.openAgent({ name: 'one' });
    two = await nixl.openAgent({ name: 'two', onNotification: (notification) => received.push(notification) });
    await one.createBackend('UCX');
    await two.createBackend('UCX');
    await one.registerBuffers([here]);
    await two.registerBuffers([there]);
    await one.loadRemote(await two.metadata());
  });
  after(async () => {
    await one?.close();
    await two?.close();
  });

  it('lists plugins, and what those that load can do', async () => {
    expect(await one.plugins()).to.include.members(['UCX', 'POSIX', 'OBJ']);
    const posix = await one.pluginInfo('POSIX');
    expect(posix.memories).to.have.members(['dram', 'file']);
    expect(await failureOf(one.pluginInfo('NONE'))).to.include({ code: 'not_found', status: 'NIXL_ERR_NOT_FOUND' });
  });

  it('reads and writes a list of ranges, with telemetry', async () => {
    there.forEach((_, index) => {
      there[index] = (index * 31) & 255;
    });
    const pieces = [0, 3, 500_000].map((offset, index) => ({ offset, bytes: 1000 + index }));
    const at = (buffer: Uint8Array) =>
      dramRanges(pieces.map(({ offset, bytes }) => ({ address: addressOf(buffer) + BigInt(offset), bytes })));
    const telemetry = await one.transfer({ operation: 'read' }, at(here), 'two', at(there));
    expect(telemetry).to.include({ bytes: 3003 });
    for (const { offset, bytes } of pieces)
      expect(here.subarray(offset, offset + bytes).equals(there.subarray(offset, offset + bytes))).to.equal(true);
    here.fill(7);
    await one.transfer({ operation: 'write' }, whole(here), 'two', whole(there));
    expect(there.every((byte) => byte === 7)).to.equal(true);
  });

  it('delivers notifications with a transfer and alone, any bytes', async () => {
    received.length = 0;
    await one.transfer({ operation: 'read', notification: Buffer.from([0, 1, 255]) }, whole(here), 'two', whole(there));
    await one.notify('two', Buffer.from('alone'));
    await until('both', () => received.length === 2);
    const messages = received.map(({ agent, message }) => `${agent} ${Buffer.from(message).toString('hex')}`);
    expect(messages).to.have.members(['one 0001ff', `one ${Buffer.from('alone').toString('hex')}`]);
  });

  it('moves ranges of prepared lists', async () => {
    const blocks = (buffer: Uint8Array) =>
      dramRanges(
        Array.from({ length: 16 }, (_, i) => ({ address: addressOf(buffer) + BigInt(i * 1024), bytes: 1024 })),
      );
    const local = await one.prepare('', blocks(here));
    const remote = await one.prepare('two', blocks(there));
    here.fill(0);
    there.fill(0);
    there.fill(9, 5 * 1024, 6 * 1024);
    const indices = (...places: number[]) => Int32Array.from(places);
    await one.transferPrepared(
      { operation: 'read' },
      { prepared: local, indices: indices(2) },
      { prepared: remote, indices: indices(5) },
    );
    expect(here.subarray(2048, 3072).every((byte) => byte === 9)).to.equal(true);
    const outside = one.transferPrepared(
      { operation: 'read' },
      { prepared: local, indices: indices(16) },
      { prepared: remote, indices: indices(0) },
    );
    expect(await failureOf(outside)).to.include({ status: 'NIXL_ERR_MISMATCH' });
    await one.releasePrepared(local);
    await one.releasePrepared(remote);
    expect(await failureOf(one.releasePrepared(remote))).to.include({ code: 'not_found', field: 'prepared' });
  });

  it('refuses bad arguments itself and names them', async () => {
    const four = dramRanges([{ address: addressOf(here), bytes: 4 }]);
    const eight = dramRanges([{ address: addressOf(there), bytes: 8 }]);
    const read = { operation: 'read' } as const;
    const foreign = dramRanges([{ address: addressOf(Buffer.alloc(64)), bytes: 4 }]);
    expect(await failureOf(one.transfer(read, four, 'two', eight))).to.include({ status: 'NIXL_ERR_MISMATCH' });
    expect(await failureOf(one.transfer(read, four, 'nobody', four))).to.include({
      code: 'not_found',
      field: 'remote',
    });
    expect(await failureOf(one.transfer(read, foreign, 'two', four))).to.include({ field: 'local[0]' });
    expect(await failureOf(one.transfer(read, dramRanges([]), 'two', dramRanges([])))).to.include({ field: 'local' });
    expect(await failureOf(one.register(dramRanges([{ address: 0n, bytes: 4 }])))).to.include({ field: 'memory' });
    expect(await failureOf(one.deregister(999))).to.include({ code: 'not_found', field: 'registration' });
    expect(await failureOf(one.createBackend('UCX\0'))).to.include({ field: 'plugin' });
    const spinning = nixl.openAgent({ name: 'x', progressDelayUs: 0 });
    expect(await failureOf(spinning)).to.include({ field: 'progressDelayUs' });
  });

  it('refuses remote ranges that are not registered, and damaged metadata', async () => {
    const outside = dramRanges([{ address: addressOf(there) + BigInt(MIB - 8), bytes: 16 }]);
    const local = dramRanges([{ address: addressOf(here), bytes: 16 }]);
    const refused = await failureOf(one.transfer({ operation: 'read' }, local, 'two', outside));
    expect(refused.status).to.match(/^NIXL_ERR_/);
    const metadata = await two.metadata();
    for (const length of [0, 1, 40, metadata.length >> 1])
      expect((await failureOf(one.loadRemote(metadata.subarray(0, length)))).status).to.match(/^NIXL_ERR_/);
  });

  it('refuses objects where no back end stores them', async () => {
    const object = objectRanges(1, [{ offset: 0, bytes: 4096 }], 'key');
    expect((await failureOf(one.register(object))).status).to.match(/^NIXL_ERR_/);
  });

  it('refuses memory of a GPU where there is none', async () => {
    const refused = await failureOf(one.register(vramRanges(0, [{ address: addressOf(here), bytes: 4096 }])));
    expect(refused).to.include({ code: 'backend_failed', status: 'NIXL_ERR_BACKEND' });
  });

  it('ends transfers that are aborted or late', async () => {
    const aborted = one.transfer({ operation: 'read', signal: AbortSignal.abort() }, whole(here), 'two', whole(there));
    expect(await aborted.catch((error: Error) => error.name)).to.equal('AbortError');
    const late = one.transfer({ operation: 'read', timeoutMs: 0 }, whole(here), 'two', whole(there));
    expect(await failureOf(late)).to.include({ code: 'deadline_exceeded', status: 'NIXL_ERR_CANCELED' });
  });

  it('reads and writes files', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'stator-nixl-'));
    const agent = await nixl.openAgent({ name: 'files' });
    try {
      const { id } = await agent.createBackend('POSIX');
      const buffer = Buffer.alloc(8192, 5);
      await agent.registerBuffers([buffer], id);
      const file = path.join(folder, 'data');
      const piece = [{ offset: 0, bytes: 8192 }];
      await agent.register(fileRanges(1, piece, { path: file, mode: 'rw,create' }), id);
      await agent.transfer({ operation: 'write', backend: id }, whole(buffer), 'files', fileRanges(1, piece));
      expect((await readFile(file)).equals(Buffer.alloc(8192, 5))).to.equal(true);
      buffer.fill(0);
      await agent.transfer({ operation: 'read', backend: id }, whole(buffer), 'files', fileRanges(1, piece));
      expect(buffer.every((byte) => byte === 5)).to.equal(true);
    } finally {
      await agent.close();
      await rm(folder, { recursive: true });
    }
  });

  it('closes once, refuses work after that, and lets go of its memory', async () => {
    const agent = await nixl.openAgent({ name: 'short' });
    await agent.createBackend('UCX');
    const memory = Buffer.alloc(4096);
    const registration = await agent.registerBuffers([memory]);
    await agent.deregister(registration);
    await Promise.all([agent.close(), agent.close()]);
    expect(await failureOf(agent.metadata())).to.include({ code: 'closed' });
    expect(await one.lingering()).to.equal(0);
  });
});
