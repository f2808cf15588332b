import { expect } from 'chai';
import { Certificates, opensslFound } from '#lib/rpc/testing/certificates.ts';
import { connectBest } from '#lib/transfer/choose.ts';
import { sealMetadata } from '#lib/transfer/metadata.ts';
import { startShmAgent } from '#lib/transfer/shm/agent.ts';
import { startTcpAgent } from '#lib/transfer/tcp/agent.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { skip } from '#tests/support/skip.ts';

describe('the choice of a transfer back end', () => {
  it('takes the nearest that works and falls back where a peer is on another host', async () => {
    await using shm = await startShmAgent({ name: 'a' }, hostMemory());
    await using tcp = await startTcpAgent({ name: 'a' });
    await using farShm = await startShmAgent({ name: 'b' }, hostMemory());
    await using farTcp = await startTcpAgent({ name: 'b' });
    const offers = { shm: await farShm.metadata(), tcp: await farTcp.metadata() };
    expect((await connectBest([tcp, shm], offers)).backend).to.equal('shm');
    expect((await connectBest([tcp, shm], offers, { only: 'tcp' })).backend).to.equal('tcp');
    expect((await connectBest([tcp], offers)).backend).to.equal('tcp');
    const endpoint = { control: `/dev/shm/stator-transfer-${'0'.repeat(16)}`, probe: '', messages: '' };
    const elsewhere = sealMetadata({ backend: 'shm', agent: 'b', endpoint }, undefined);
    expect((await connectBest([tcp, shm], { ...offers, shm: elsewhere })).backend).to.equal('tcp');
    const none = await connectBest([shm], { shm: elsewhere }).catch((error: unknown) => error);
    expect(none)
      .to.include({ code: 'worker_unavailable' })
      .and.to.match(/shm: The peer is gone or on another host/);
    const damaged = await connectBest([tcp, shm], { ...offers, shm: new Uint8Array(9) }).catch(
      (error: unknown) => error,
    );
    expect(damaged).to.include({ code: 'invalid_argument' });
  });
});

describe('transfer over TLS', () => {
  it('moves bytes between those with certificates of one authority, and refuses others', async function () {
    if (!opensslFound()) skip(this, 'there is no openssl on this machine');
    const authority = new Certificates();
    const strangers = new Certificates('strangers');
    const tls = {
      server: { ...authority.issue('one'), ca: authority.ca },
      client: { ...authority.issue('two'), ca: authority.ca },
    };
    const foreign = { server: strangers.issue('three'), client: { ...strangers.issue('four'), ca: authority.ca } };
    await using lender = await startTcpAgent({ name: 'lender', tls });
    await using borrower = await startTcpAgent({ name: 'borrower', tls });
    await using stranger = await startTcpAgent({ name: 'stranger', tls: foreign });
    await using plain = await startTcpAgent({ name: 'plain' });
    const lent = await lender.register(Buffer.alloc(100_000, 6));
    const local = await borrower.register(Buffer.alloc(100_000));
    const peer = await borrower.connect(await lender.metadata());
    await peer.pull([{ local, localOffset: 0, remote: lent.ref, remoteOffset: 0, bytes: 100_000 }]);
    expect(local.buffer.every((byte) => byte === 6)).to.equal(true);
    const metadata = await lender.metadata();
    for (const other of [stranger, plain]) {
      const refused = await other.connect(metadata, { timeoutMs: 5000 }).catch((error: unknown) => error);
      expect(refused).to.include({ code: 'worker_unavailable' });
    }
  });
});
