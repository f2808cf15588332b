import { expect } from 'chai';
import { Random } from '../../kv-index/testing/random.ts';
import { xxh3 } from '../../tokens/xxh3.ts';
import { type BlockHeader, checkPayload, decodeHeader, encodeHeader, headerBytes } from './block-header.ts';
import { digestHex, namespaceFolder, objectKey, parseObjectKey, tenantFolder } from './object-key.ts';

const payload = new TextEncoder().encode('keys and values');

const header: BlockHeader = {
  epoch: 7,
  generation: 0xffff_ffff,
  namespaceDigest: Uint32Array.of(1, 2, 3, 4),
  modelDigest: 0xfedc_ba98_7654_3210n,
  layout: 12,
  dtype: 3,
  blockTokens: 16,
  digest: Uint32Array.of(5, 6, 7, 0xdead_beef),
  sequenceHash: 0xffff_0000_1111_2222n,
  position: 9,
  parent: { digest: Uint32Array.of(8, 9, 10, 11), sequenceHash: 77n },
  priority: 15,
  isEncrypted: true,
  payloadBytes: payload.length,
  payloadChecksum: xxh3(payload),
};

describe('records of blocks at rest', () => {
  it('come back as they were written', () => {
    for (const one of [header, { ...header, parent: null, position: 0, isEncrypted: false, epoch: 0xffff_ffff }]) {
      const bytes = encodeHeader(one, xxh3);
      expect(bytes.length).to.equal(headerBytes);
      expect(decodeHeader(bytes, one, xxh3)).to.deep.equal({ header: one });
      expect(checkPayload(one, payload, xxh3)).to.equal(undefined);
    }
  });

  it('say which expectation they do not meet', () => {
    const bytes = encodeHeader(header, xxh3);
    for (const [expected, rejection] of [
      [{ modelDigest: 1n, layout: 1 }, 'wrong_modelDigest'],
      [{ layout: 13 }, 'wrong_layout'],
      [{ dtype: 2 }, 'wrong_dtype'],
      [{ blockTokens: 32 }, 'wrong_blockTokens'],
      [{ namespaceDigest: Uint32Array.of(1, 2, 3, 5) }, 'wrong_namespaceDigest'],
      [{ digest: Uint32Array.of(5, 6, 7, 8) }, 'wrong_digest'],
      [{ sequenceHash: 0xffff_0000_1111_2223n }, 'wrong_sequenceHash'],
      [{ payloadBytes: 16 }, 'wrong_payloadBytes'],
      [{ epoch: 8 }, 'wrong_epoch'],
      [{ generation: 0 }, 'wrong_generation'],
    ] as const)
      expect(decodeHeader(bytes, expected, xxh3)).to.deep.equal({ rejection });
  });

  it('are refused after any change of one bit, and when they are short, empty, foreign or of another version', () => {
    const whole = encodeHeader(header, xxh3);
    for (let bit = 0; bit < 8 * headerBytes; bit++) {
      const bytes = whole.slice();
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const place = bit < 32 ? 'bad_magic' : bit < 64 ? 'unknown_version' : 'header_checksum';
      expect(decodeHeader(bytes, {}, xxh3), `bit ${bit}`).to.deep.equal({ rejection: place });
    }
    expect(decodeHeader(whole.subarray(0, 127), {}, xxh3).rejection).to.equal('truncated');
    expect(decodeHeader(new Uint8Array(headerBytes), {}, xxh3).rejection).to.equal('empty');
    const random = new Random(1);
    for (let i = 0; i < 100; i++) {
      const noise = Uint8Array.from({ length: headerBytes }, () => random.below(256));
      expect(decodeHeader(noise, {}, xxh3).rejection).to.equal('bad_magic');
    }
    const orphan = encodeHeader({ ...header, parent: null }, xxh3);
    expect(decodeHeader(orphan, {}, xxh3).rejection).to.equal('inconsistent');
  });

  it('tell bytes that are cut, longer or changed', () => {
    expect(checkPayload(header, payload.subarray(1), xxh3)).to.equal('truncated');
    expect(checkPayload(header, Uint8Array.of(...payload, 0), xxh3)).to.equal('wrong_payloadBytes');
    const changed = payload.slice();
    changed[3] = 0;
    expect(checkPayload(header, changed, xxh3)).to.equal('payload_checksum');
  });

  it('lie under keys that say model, tenant, namespace and block', () => {
    const name = {
      model: 'HuggingFaceTB/SmolLM2-135M Instruct',
      modelDigest: '0123456789abcdef',
      tenantTag: 'fedcba9876543210',
      namespaceDigest: digestHex(Uint32Array.of(0, 1, 2, 0x12345678)),
      digest: digestHex(Uint32Array.of(9, 9, 9, 9, 0xefcdab89, 1, 2, 3), 1),
    };
    const key = objectKey(name);
    expect(key).to.equal(
      'stator-kv/v1/HuggingFaceTB_SmolLM2-135M_Instruct@0123456789abcdef/fedcba9876543210/' +
        '00000000010000000200000078563412/89a/89abcdef010000000200000003000000',
    );
    expect(parseObjectKey(key)).to.deep.equal({ ...name, model: 'HuggingFaceTB_SmolLM2-135M_Instruct' });
    expect(key.startsWith(tenantFolder(name)) && key.startsWith(namespaceFolder(name))).to.equal(true);
    for (const other of ['', `${key}0`, key.replace('/89a/', '/89b/'), key.replace('v1', 'v2'), `x/${key}`])
      expect(parseObjectKey(other), other).to.equal(undefined);
  });
});
