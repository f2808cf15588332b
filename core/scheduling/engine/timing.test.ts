import { deflateRawSync } from 'node:zlib';
import { expect } from 'chai';
import { readNpz } from './npz.ts';
import { fixedTiming, polynomialTiming } from './timing.ts';
import { interpolatedTiming, profileOfJson, profileOfNpz } from './timing-profile.ts';

const profile = {
  prefill_isl: [100, 200, 400],
  prefill_ttft_ms: [10, 30, 40],
  decode_active_kv_tokens: [1000, 3000],
  decode_context_length: [10, 20],
  decode_itl: [
    [5, 7],
    [9, 13],
  ],
};

/** A zip file as numpy writes it. */
function zip(entries: Readonly<Record<string, Uint8Array>>, compress: boolean): Uint8Array {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, bytes] of Object.entries(entries)) {
    const data = compress ? deflateRawSync(bytes) : Buffer.from(bytes);
    const header = Buffer.alloc(30 + name.length);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(name.length, 26);
    header.write(name, 30);
    const entry = Buffer.alloc(46 + name.length);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(compress ? 8 : 0, 10);
    entry.writeUInt32LE(data.length, 20);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(at, 42);
    entry.write(name, 46);
    parts.push(header, data);
    directory.push(entry);
    at += header.length + data.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, ...directory, end]);
}

function npy(descr: string, shape: string, data: ArrayBuffer): Uint8Array {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }\n`;
  const head = Buffer.from(`\x93NUMPY\x01\x00..${header}`, 'latin1');
  head.writeUInt16LE(header.length, 8);
  return Buffer.concat([head, Buffer.from(data)]);
}

const npzEntries = {
  'prefill_isl.npy': npy('<i8', '(3,)', BigInt64Array.of(100n, 200n, 400n).buffer),
  'prefill_ttft_ms.npy': npy('<f4', '(3,)', Float32Array.of(10, 30, 40).buffer),
  'decode_active_kv_tokens.npy': npy('<f8', '(2,)', Float64Array.of(1000, 3000).buffer),
  'decode_context_length.npy': npy('<f8', '(2,)', Float64Array.of(10, 20).buffer),
  'decode_itl.npy': npy('<f8', '(2, 2)', Float64Array.of(5, 7, 9, 13).buffer),
};
const inflate = (): never => {
  throw new Error('nothing is compressed');
};

describe('timing of simulated passes', () => {
  it('is the polynomials of the specification', () => {
    expect(polynomialTiming.prefillMs(1000, 1)).to.be.closeTo(0.4209989 + 15.18344 + 16.50142, 1e-9);
    expect(polynomialTiming.decodeMs(0, 100, 1)).to.equal(5.74);
    expect(polynomialTiming.decodeMs(50, 100, 1)).to.be.closeTo(-25.74 / 4 + 54.01 / 2 + 5.74, 1e-9);
    expect(polynomialTiming.decodeMs(500, 100, 1)).to.be.closeTo(34.01, 1e-9);
    expect(fixedTiming({ prefillMsPerToken: 0.5, decodeMs: 3 }).prefillMs(10, 2)).to.equal(5);
  });

  it('interpolates, and goes on beyond what was measured', () => {
    const timing = interpolatedTiming(profileOfJson(profile));
    expect([100, 150, 300, 400, 500, 50].map((tokens) => timing.prefillMs(tokens, 1))).to.deep.equal([
      10, 20, 35, 40, 45, 0,
    ]);
    expect(timing.decodeMs(1000, 1, 10)).to.equal(5);
    expect(timing.decodeMs(2000, 1, 15)).to.equal(8.5);
    expect(timing.decodeMs(4000, 1, 20)).to.equal(16);
    expect(timing.decodeMs(0, 1, 0)).to.equal(2);
    const fast = interpolatedTiming(
      profileOfJson({
        ...profile,
        decode_itl: [
          [0.1, 0.1],
          [0.2, 0.2],
        ],
      }),
    );
    expect(fast.decodeMs(1000, 1, 10)).to.equal(1);
  });

  it('reads what numpy writes, compressed or not', async () => {
    const { inflateRawSync } = await import('node:zlib');
    for (const compress of [false, true]) {
      const arrays = readNpz(zip(npzEntries, compress), (bytes) => inflateRawSync(bytes));
      expect(profileOfNpz(arrays)).to.deep.equal(profileOfJson(profile));
    }
  });

  it('names what is wrong with a profile', () => {
    expect(() => profileOfJson({ ...profile, prefill_isl: [1, 1, 2] })).to.throw('prefill_isl must ascend');
    expect(() => profileOfJson({ ...profile, decode_itl: [[1, 2]] })).to.throw(
      'decode_itl must have 2 rows of 2 values',
    );
    expect(() => profileOfJson({ ...profile, prefill_ttft_ms: [1] })).to.throw('prefill_ttft_ms has 1 values');
    expect(() => profileOfJson(null)).to.throw('prefill_isl must be an array of numbers');
    expect(() => readNpz(new Uint8Array(100), inflate)).to.throw('not a zip file');
    expect(() => profileOfNpz(new Map())).to.throw('prefill_isl must be an array');
    const cut = zip({ 'a.npy': npy('<f8', '(5,)', Float64Array.of(1).buffer) }, false);
    expect(() => readNpz(cut, inflate)).to.throw('a.npy is cut off');
    const text = zip({ 'a.npy': npy('<U3', '(1,)', Float64Array.of(1).buffer) }, false);
    expect(() => readNpz(text, inflate)).to.throw("elements of type '<U3'");
  });
});
