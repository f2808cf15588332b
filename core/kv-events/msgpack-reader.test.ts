import { readFileSync } from 'node:fs';
import { decode, encode } from '@msgpack/msgpack';
import { expect } from 'chai';
import fc from 'fast-check';
import { decodeEventBatch } from './decode-batch.ts';
import { MsgpackError, MsgpackReader } from './msgpack-reader.ts';

/** Reads any value into what the library makes of it. */
function readAny(reader: MsgpackReader): unknown {
  const kind = reader.kind();
  if (kind === 'nil') return reader.nil() ? null : undefined;
  if (kind === 'boolean') return reader.boolean();
  if (kind === 'integer') return reader.bigint();
  if (kind === 'float') return reader.number();
  if (kind === 'string') return reader.string();
  if (kind === 'bytes') return new Uint8Array(reader.bytes());
  if (kind === 'array') return Array.from({ length: reader.array() }, () => readAny(reader));
  if (kind === 'extension') return reader.skip();
  const entries = Array.from({ length: reader.map() }, () => [reader.string(), readAny(reader)]);
  return Object.fromEntries(entries);
}

/** Numbers of the library are bigints for 64-bit formats only. */
function asBigints(value: unknown): unknown {
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value);
  if (Array.isArray(value)) return value.map(asBigints);
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, asBigints(inner)]));
}

const anyValue = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.double({ noNaN: true, noInteger: true }),
    fc.string({ maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(
      fc.string().filter((key) => key !== '__proto__'),
      tie('value'),
    ),
  ),
})).value;

const file = new URL('../../tests/fixtures/kv-events/batches.json', import.meta.url);
const batches: { hex: string }[] = JSON.parse(readFileSync(file, 'utf8'));

/** Either a batch comes out or MsgpackError; anything else fails the test. */
function decodesOrRefuses(bytes: Uint8Array): void {
  try {
    decodeEventBatch(bytes);
  } catch (error) {
    if (!(error instanceof MsgpackError)) throw error;
  }
}

describe('MessagePack reader', () => {
  it('reads what the library wrote, and skips exactly that', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        const bytes = encode(value, { useBigInt64: true });
        const reader = new MsgpackReader(bytes);
        reader.skip();
        expect(reader.position).to.equal(bytes.length);
        reader.seek(0);
        const expected = asBigints(decode(bytes, { useBigInt64: true }));
        expect(readAny(reader)).to.deep.equal(expected);
        expect(reader.done).to.equal(true);
      }),
      { numRuns: 500 },
    );
  });

  it('reads every width of integer', () => {
    for (const value of [
      0,
      127,
      128,
      255,
      256,
      65535,
      65536,
      2 ** 32 - 1,
      -1,
      -32,
      -33,
      -128,
      -129,
      -32769,
      -(2 ** 31),
    ]) {
      expect(new MsgpackReader(encode(value)).bigint()).to.equal(BigInt(value));
      expect(new MsgpackReader(encode(value)).number()).to.equal(value);
      const reader = new MsgpackReader(encode(value));
      if (value >= 0) expect(reader.uint32()).to.equal(value);
      else expect(() => reader.uint32()).to.throw(MsgpackError, 'from 0 to 2^32 - 1');
    }
    expect(() => new MsgpackReader(encode(2 ** 32)).uint32()).to.throw(MsgpackError);
    expect(new MsgpackReader(encode(5n, { useBigInt64: true })).uint32()).to.equal(5);
  });

  it('takes no memory for lengths that bytes cannot fill', () => {
    for (const hex of ['ddffffffff', 'dfffffffff', 'c6ffffffff', 'dbffffffff', 'c9ffffffff00', 'dc0002c0'])
      expect(() => new MsgpackReader(Buffer.from(hex, 'hex')).skip(), hex).to.throw(MsgpackError, 'left');
  });

  it('stays where it was when a value is not what was asked for', () => {
    const reader = new MsgpackReader(encode(['x']));
    for (const read of ['nil', 'boolean', 'number', 'uint32', 'bigint', 'string', 'bytes', 'map'] as const)
      if (read !== 'nil') expect(() => reader[read](), read).to.throw(MsgpackError);
    expect(reader.nil()).to.equal(false);
    expect(reader.array()).to.equal(1);
    expect(reader.string()).to.equal('x');
    expect(() => reader.kind()).to.throw(MsgpackError, 'end');
  });

  it('survives nesting as deep as the bytes', () => {
    const nested = new Uint8Array(100_000).fill(0x91);
    nested[nested.length - 1] = 0xc0;
    const reader = new MsgpackReader(nested);
    reader.skip();
    expect(reader.done).to.equal(true);
    decodesOrRefuses(nested);
  });

  it('decodes or refuses any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), decodesOrRefuses), { numRuns: 5000 });
  });

  it('decodes or refuses batches with bytes changed, cut and repeated', () => {
    const change = fc.record({ at: fc.nat(), byte: fc.nat(255), kind: fc.constantFrom('set', 'cut', 'insert') });
    fc.assert(
      fc.property(fc.nat(batches.length - 1), fc.array(change, { minLength: 1, maxLength: 6 }), (index, changes) => {
        let bytes = Buffer.from(batches[index]?.hex ?? '', 'hex');
        for (const { at, byte, kind } of changes) {
          const place = at % (bytes.length + 1);
          if (kind === 'cut') bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + 1)]);
          else if (kind === 'insert')
            bytes = Buffer.concat([bytes.subarray(0, place), Buffer.of(byte), bytes.subarray(place)]);
          else if (place < bytes.length) bytes[place] = byte;
        }
        decodesOrRefuses(bytes);
      }),
      { numRuns: 20_000 },
    );
  });
});
