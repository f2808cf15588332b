import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { expect } from 'chai';
import { Certificates, opensslFound } from '../../rpc/testing/certificates.ts';
import { endpointField, openMetadata } from '../metadata.ts';
import { startTcpAgent } from './agent.ts';

describe('certificates of transfers', function () {
  if (!opensslFound()) {
    it('needs the openssl command for its certificates');
    return;
  }
  this.timeout(60_000);

  it('are renewed without a restart: who is connected stays, who comes sees the new one', async () => {
    const heard: string[] = [];
    const certificates = new Certificates();
    const files = certificates.issue('agent');
    const material = { ...files, ca: certificates.ca };
    const options = { tls: { server: material, client: material }, tlsReloadMs: 10 };
    await using lender = await startTcpAgent({
      name: 'lender',
      onNotification: (_from, message) => heard.push(Buffer.from(message).toString()),
      ...options,
    });
    await using borrower = await startTcpAgent({ name: 'borrower', ...options });
    const metadata = await lender.metadata();
    const before = await borrower.connect(metadata);
    const first = await serialOf(metadata, material);
    certificates.replace(files, certificates.issue('renewed'));
    let now = first;
    while (now === first) now = await serialOf(metadata, material);
    const after = await borrower.connect(metadata);
    for (const peer of [before, after]) {
      await peer.notify(Buffer.from('still here'));
      await peer.close();
    }
    expect(heard).to.deep.equal(['still here', 'still here']);
    certificates.remove();
  });
});

async function serialOf(metadata: Uint8Array, files: { cert: string; key: string; ca: string }): Promise<string> {
  const opened = openMetadata(metadata, { backend: 'tcp', secret: undefined });
  const port = Number(endpointField(opened, 'port'));
  const [cert, key, ca] = [files.cert, files.key, files.ca].map((file) => readFileSync(file));
  const socket = tls.connect({ host: '127.0.0.1', port, cert, key, ca, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}
