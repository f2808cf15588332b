// What only sockets can do wrong: bytes are given to the system as they lie, and lent memory may be wanted back meanwhile.
import { expect } from 'chai';
import { openMetadata, sealMetadata } from '#lib/transfer/metadata.ts';
import { startTcpAgent, type TcpAgent } from '#lib/transfer/tcp/agent.ts';
import type { Peer, Region } from '#lib/transfer/transfer.ts';
import { startTcpProxy, type TcpProxy } from '#tests/support/tcp-proxy.ts';
import { until } from '#tests/support/until.ts';

const MIB = 1 << 20;
const BYTES = 64 * MIB;

describe('memory that is lent over sockets', () => {
  let lender: TcpAgent;
  let borrower: TcpAgent;
  let proxy: TcpProxy;
  let peer: Peer;
  let lent: Region;
  let local: Region;

  async function start(takeBackMs?: number): Promise<void> {
    lender = await startTcpAgent({ name: 'lender', ...(takeBackMs !== undefined && { takeBackMs }) });
    borrower = await startTcpAgent({ name: 'borrower', timeoutMs: 20_000 });
    lent = await lender.register(Buffer.alloc(BYTES, 1), { readOnly: true });
    local = await borrower.register(Buffer.alloc(BYTES, 2));
    const metadata = openMetadata(await lender.metadata(), { backend: 'tcp', secret: undefined });
    proxy = await startTcpProxy(Number(metadata.endpoint['port']), { reset: false });
    const endpoint = { ...metadata.endpoint, port: String(proxy.port) };
    peer = await borrower.connect(sealMetadata({ ...metadata, endpoint }, undefined));
  }
  afterEach(async () => {
    proxy.heal();
    await Promise.all([lender.close(), borrower.close()]);
    await proxy.close();
  });

  function pull(times: number): Promise<string> {
    const piece = { local, localOffset: 0, remote: lent.ref, remoteOffset: 0, bytes: BYTES };
    return peer.pull(Array.from({ length: times }, () => piece)).then(
      () => 'done',
      (error: { code?: string }) => error.code ?? 'unknown',
    );
  }

  it('is given back in the middle of a transfer, which fails', async () => {
    await start(20_000);
    const running = pull(100);
    await until('the first bytes', () => local.buffer[0] === 1);
    await lent.revoke();
    // Nobody looks at it any more.
    lent.buffer.fill(9);
    expect(await running).to.equal('not_found');
    expect(local.buffer.includes(9)).to.equal(false);
    await until('nothing is served', () => lender.counters().serving === 0 && borrower.counters().running === 0);
  });

  it('is given back although the peer takes nothing any more', async () => {
    await start();
    const running = pull(100);
    await until('the first bytes', () => local.buffer[0] === 1);
    proxy.freeze();
    await lent.revoke();
    expect(lender.counters()).to.include({ serving: 0, regions: 0 });
    proxy.heal();
    expect(await running).to.equal('worker_unavailable');
  });

  it('is not written to by those who may only read', async () => {
    await start();
    const piece = { local, localOffset: 0, remote: lent.ref, remoteOffset: 0, bytes: MIB };
    const refused = await peer.push([piece]).catch((error: unknown) => error);
    expect(refused).to.include({ code: 'permission_denied' });
    expect(lent.buffer.includes(2)).to.equal(false);
    expect(await pull(1)).to.equal('done');
  });
});
