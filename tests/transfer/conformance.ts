// What every back end must do, between real processes.
import { once } from 'node:events';
import { crc32 } from 'node:zlib';
import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { sealMetadata } from '#lib/transfer/metadata.ts';
import type { Peer, Piece, Region, RegionRef, TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { openFiles } from '#tests/support/proc.ts';
import { skip } from '#tests/support/skip.ts';
import { until } from '#tests/support/until.ts';
import { startAgent } from './backends.ts';
import { fillPattern, randomFrom } from './pattern.ts';
import { PeerProcess } from './peer-process.ts';

const MIB = 1 << 20;
const LENT_BYTES = 32 * MIB;
const LANES = 8;
const LANE_BYTES = MIB;
const LISTS = 10_000;
/** Pieces of a transfer that nobody sees the end of: 32 GiB. */
const ENDLESS = 1000;

export function describeBackend(backend: TransferBackend, missing: () => string | undefined): void {
  describe(`transfer over ${backend}`, function () {
    this.timeout(120_000);
    let agent: TransferAgent;
    let lender: PeerProcess;
    let peer: Peer;
    let remote: RegionRef;
    let local: Region;

    before(async function () {
      const why = missing();
      if (why !== undefined) skip(this, why);
      agent = await startAgent(backend, { name: 'borrower' });
    });
    beforeEach(async () => {
      lender = await PeerProcess.start(backend, LENT_BYTES);
      const offer = await lender.offer();
      remote = offer.region;
      peer = await agent.connect(offer.metadata);
      local = await agent.register(hostMemory().allocate(LENT_BYTES));
    });
    afterEach(async () => {
      await peer?.close();
      await local?.revoke();
      lender?.resume();
      await lender?.kill();
    });
    after(async () => {
      await agent?.close();
    });

    function whole(times = 1): Piece[] {
      const piece = { local, localOffset: 0, remote, remoteOffset: 0, bytes: LENT_BYTES };
      return Array.from({ length: times }, () => piece);
    }

    function checkIdle(regions = 1, peers = 1): void {
      expect(agent.counters()).to.include({ running: 0, serving: 0, regions, peers });
    }

    it(`moves ${LISTS.toLocaleString('en')} random scatter lists without a wrong byte`, async () => {
      await lender.ask({ op: 'fill', seed: 7 });
      const mirror = Buffer.alloc(LENT_BYTES);
      fillPattern(mirror, 7);
      fillPattern(local.buffer, 8);
      const random = randomFrom(9);
      const list = (lane: number): Piece[] => {
        const pieces: Piece[] = [];
        let at = lane * LANE_BYTES;
        for (let count = 1 + random(8); count > 0; count -= 1) {
          const bytes = 1 + random(random(20) === 0 ? 65_536 : 2048);
          pieces.push({ local, localOffset: at, remote, remoteOffset: random(LENT_BYTES - bytes), bytes });
          at += bytes + random(64);
        }
        return pieces;
      };
      const here = ({ localOffset, bytes }: Piece) => local.buffer.subarray(localOffset, localOffset + bytes);
      const pull = async (lane: number): Promise<void> => {
        const pieces = list(lane);
        await peer.pull(pieces);
        for (const piece of pieces) {
          const expected = crc32(mirror.subarray(piece.remoteOffset, piece.remoteOffset + piece.bytes));
          if (crc32(here(piece)) !== expected) expect.fail(`wrong bytes at ${piece.remoteOffset}`);
        }
      };
      const push = async (): Promise<void> => {
        const pieces = list(LANES);
        // Ranges that overlap there would leave it open which of them wins.
        const apart = pieces.filter(
          (piece, index) => !pieces.some((other, place) => place < index && overlap(piece, other)),
        );
        await peer.push(apart);
        for (const piece of apart) mirror.set(here(piece), piece.remoteOffset);
      };
      for (let done = 0; done < LISTS; done += LANES + 1) {
        await Promise.all(Array.from({ length: LANES }, (_, lane) => pull(lane)));
        await push();
      }
      expect((await lender.ask({ op: 'checksum' })).checksum).to.equal(crc32(mirror));
      checkIdle();
    });

    it('delivers notifications, after the data and alone', async () => {
      await peer.pull(whole(), { notification: Buffer.from([1, 0, 255]) });
      await peer.notify(Buffer.from([2]));
      const expected = ['borrower: 0100ff', 'borrower: 02'];
      await until('both', async () => (await lender.ask({ op: 'notifications' })).notifications?.length === 2);
      expect((await lender.ask({ op: 'notifications' })).notifications).to.have.members(expected);
      expect((await failure(peer.notify(Buffer.alloc(65_537)))).field).to.equal('message');
    });

    it('refuses lists that do not fit and names the piece', async () => {
      const [piece] = whole();
      if (piece === undefined) throw new Error('no piece');
      const wrong: [Partial<Piece>, string][] = [
        [{ bytes: LENT_BYTES + 1 }, 'localOffset'],
        [{ localOffset: 1 }, 'localOffset'],
        [{ remoteOffset: 1 }, 'remoteOffset'],
        [{ bytes: 0 }, 'localOffset'],
        [{ remoteOffset: -1, bytes: 1 }, 'remoteOffset'],
        [{ localOffset: 0.5, bytes: 1 }, 'localOffset'],
      ];
      for (const [change, field] of wrong) {
        const error = await failure(
          peer.pull([
            { ...piece, bytes: 16 },
            { ...piece, ...change },
          ]),
        );
        expect(error).to.include({ code: 'invalid_argument', field: `pieces[1].${field}` });
      }
      expect((await failure(peer.pull([]))).field).to.equal('pieces');
      const lying = { ...remote, bytes: remote.bytes * 2 };
      const beyond = await failure(peer.pull([{ ...piece, remote: lying, remoteOffset: LENT_BYTES, bytes: 64 }]));
      expect(beyond.code).to.be.oneOf(['not_found', 'invalid_argument', 'worker_unavailable']);
    });

    it('refuses memory that was revoked, and never takes new memory for old', async () => {
      await lender.ask({ op: 'fill', seed: 3 });
      await lender.ask({ op: 'revoke' });
      expect((await failure(peer.pull(whole()))).code).to.equal('not_found');
      expect((await failure(peer.push(whole()))).code).to.equal('not_found');
      await lender.ask({ op: 'register' });
      expect((await failure(peer.pull(whole()))).code).to.equal('not_found');
      const offer = await lender.offer();
      const again = await agent.connect(offer.metadata);
      await again.pull(whole().map((piece) => ({ ...piece, remote: offer.region })));
      await again.close();
      expect(crc32(local.buffer)).to.equal((await lender.ask({ op: 'checksum' })).checksum);
      checkIdle();
    });

    it('does not let go of memory in use', async () => {
      const running = peer.pull(whole(4));
      expect((await failure(local.revoke())).code).to.equal('conflict');
      await running;
      checkIdle();
    });

    it('ends a transfer that is cancelled half-way, on both sides', async () => {
      await lender.ask({ op: 'fill', seed: 5 });
      const controller = new AbortController();
      const running = failure(peer.pull(whole(ENDLESS), { signal: controller.signal }));
      await until('the first bytes', () => local.buffer[0] !== 0 || local.buffer[1] !== 0);
      controller.abort();
      expect((await running).code).to.equal('cancelled');
      expect((await failure(peer.pull(whole(), { signal: AbortSignal.abort() }))).code).to.equal('cancelled');
      await until('nothing served', async () => (await lender.ask({ op: 'counters' })).counters?.serving === 0);
      checkIdle();
      await peer.pull(whole());
      expect(crc32(local.buffer)).to.equal((await lender.ask({ op: 'checksum' })).checksum);
    });

    it('keeps its deadline with a stopped peer, and works when it wakes', async () => {
      await peer.pull(whole());
      lender.stop();
      const outcome = await peer.pull(whole(), { timeoutMs: 300 }).then(() => undefined, StatorError.from);
      if (backend === 'tcp') expect(outcome?.code).to.equal('deadline_exceeded');
      else expect(outcome?.code).to.be.oneOf([undefined, 'deadline_exceeded']);
      if (backend !== 'nixl')
        expect((await failure(peer.notify(Buffer.from('x'), { timeoutMs: 200 }))).code).to.equal('deadline_exceeded');
      checkIdle();
      lender.resume();
      await lender.ask({ op: 'fill', seed: 11 });
      await peer.pull(whole());
      expect(crc32(local.buffer)).to.equal((await lender.ask({ op: 'checksum' })).checksum);
    });

    it('reports a peer that is killed, also half-way', async () => {
      await lender.ask({ op: 'fill', seed: 5 });
      const running = failure(peer.pull(whole(ENDLESS), { timeoutMs: 30_000 }));
      await until('the first bytes', () => local.buffer[0] !== 0 || local.buffer[1] !== 0);
      await lender.kill();
      expect((await running).code).to.equal('worker_unavailable');
      expect((await failure(peer.pull(whole(), { timeoutMs: 30_000 }))).code).to.equal('worker_unavailable');
      await peer.close();
      checkIdle(1, 0);
    });

    it('refuses metadata that is cut off, altered, for another back end or of strangers', async () => {
      const { metadata } = await lender.offer();
      const refused = async (bytes: Uint8Array, who = agent) => {
        const error = await failure(who.connect(bytes, { timeoutMs: 2000 }));
        expect(error).to.include({ code: 'invalid_argument', field: 'agent_metadata' });
      };
      for (let length = 0; length < metadata.length; length += 1 + (metadata.length >> 6))
        await refused(metadata.subarray(0, length));
      const random = randomFrom(21);
      for (let round = 0; round < 64; round += 1) {
        const altered = Uint8Array.from(metadata);
        const place = random(altered.length);
        altered[place] = (altered[place] ?? 0) ^ (1 << random(8));
        await refused(altered);
      }
      const other = backend === 'tcp' ? 'shm' : 'tcp';
      await refused(sealMetadata({ backend: other, agent: 'x', endpoint: {} }, undefined));
      await refused(sealMetadata({ backend, agent: 'x', endpoint: {} }, undefined));
      const nonsense = { blob: 'AAAA', fence: '12', control: '/etc/passwd', probe: 'AAAA', token: 'AAAA', port: '1' };
      await refused(sealMetadata({ backend, agent: 'x', endpoint: nonsense }, undefined));
      const careful = await startAgent(backend, { name: 'careful', secret: 'shared' });
      await refused(metadata, careful);
      const trusted = await PeerProcess.start(backend, MIB, 'shared');
      await (await careful.connect((await trusted.offer()).metadata)).close();
      await trusted.kill();
      await careful.close();
      checkIdle();
    });

    it('leaves nothing behind when both sides end', async () => {
      const { metadata } = await lender.offer();
      // What a library keeps open from its first use on is no leak.
      await pass(metadata);
      const before = await openFiles(process.pid);
      await pass(metadata);
      await until('as many files as before', async () => (await openFiles(process.pid)) <= before);
      const exit = once(lender.child, 'exit');
      await lender.ask({ op: 'leave' });
      expect((await exit)[0]).to.equal(0);
    });

    async function pass(metadata: Uint8Array): Promise<void> {
      const own = await startAgent(backend, { name: 'passing' });
      for (let round = 0; round < 5; round += 1) {
        const region = await own.register(hostMemory().allocate(LENT_BYTES));
        const to = await own.connect(metadata);
        await to.pull([{ local: region, localOffset: 0, remote, remoteOffset: 0, bytes: LENT_BYTES }]);
        await to.close();
        await region.revoke();
        expect(own.counters()).to.include({ running: 0, regions: 0, peers: 0 });
      }
      await own.close();
      await own.close();
    }
  });
}

function overlap(one: Piece, other: Piece): boolean {
  return one.remoteOffset < other.remoteOffset + other.bytes && other.remoteOffset < one.remoteOffset + one.bytes;
}

function failure(promise: Promise<unknown>): Promise<StatorError> {
  return promise.then(
    () => expect.fail('expected a failure'),
    (error: unknown) => (error instanceof StatorError ? error : expect.fail(String(error))),
  );
}
