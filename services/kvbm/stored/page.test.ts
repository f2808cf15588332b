import { expect } from 'chai';
import type { BlockHeader } from '#core/blocks/record/block-header.ts';
import { xxh3 } from '#core/tokens/xxh3.ts';
import { decodePage, encodePage, pageBytes, type StoredPage } from './page.ts';

const header: BlockHeader = {
  epoch: 7,
  generation: 3,
  namespaceDigest: Uint32Array.of(1, 2, 3, 4),
  modelDigest: 77n,
  layout: 12,
  dtype: 3,
  blockTokens: 16,
  digest: Uint32Array.of(5, 6, 7, 8),
  sequenceHash: 9n,
  position: 0,
  parent: null,
  priority: 2,
  isEncrypted: false,
  payloadBytes: 100,
  payloadChecksum: 5n,
};

function encoded(page: StoredPage): Uint8Array {
  const bytes = new Uint8Array(pageBytes).fill(0xee);
  encodePage(page, bytes, xxh3);
  return bytes;
}

describe('pages of blocks at rest', () => {
  const seal = { keyId: new Uint8Array(8).fill(1), nonce: new Uint8Array(12).fill(2), tag: new Uint8Array(16).fill(3) };
  const pages: readonly StoredPage[] = [
    { header, writtenMs: 1_700_000_000_123, seal: null },
    { header: { ...header, isEncrypted: true }, writtenMs: 0, seal },
  ];

  it('come back as they were written', () => {
    for (const page of pages) expect(decodePage(encoded(page), header, xxh3)).to.deep.equal({ page });
  });

  it('are rejected when any byte that counts is another', () => {
    for (const page of pages)
      for (let at = 0; at < 192; at++) {
        const bytes = encoded(page);
        bytes[at] = (bytes[at] ?? 0) ^ 0x10;
        expect(decodePage(bytes, {}, xxh3).rejection, `byte ${at}`).to.be.a('string');
      }
  });

  it('say why they are none', () => {
    expect(decodePage(new Uint8Array(pageBytes), {}, xxh3)).to.deep.equal({ rejection: 'empty' });
    expect(decodePage(new Uint8Array(100), {}, xxh3)).to.deep.equal({ rejection: 'truncated' });
    const [page] = pages;
    if (page === undefined) throw new Error('no page');
    expect(decodePage(encoded(page), { layout: 13 }, xxh3)).to.deep.equal({ rejection: 'wrong_layout' });
  });
});
