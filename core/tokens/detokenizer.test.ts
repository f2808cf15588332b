import { expect } from 'chai';
import fc from 'fast-check';
import { Detokenizer } from './detokenizer.ts';
import { createTokenTable, type TokenTable } from './token-table.ts';

const utf8 = new TextEncoder();

function tableOf(
  tokens: readonly (string | readonly number[])[],
  o: { special?: number[]; strip?: boolean } = {},
): TokenTable {
  const bytes = tokens.map((token) => (typeof token === 'string' ? utf8.encode(token) : Uint8Array.from(token)));
  const offsets = [0];
  for (const token of bytes) offsets.push((offsets.at(-1) ?? 0) + token.length);
  return createTokenTable({
    data: Uint8Array.from(bytes.flatMap((token) => [...token])),
    offsets,
    specialTokenIds: o.special ?? [],
    eosTokenIds: [],
    stripLeadingSpace: o.strip ?? false,
  });
}

function decode(table: TokenTable, ids: readonly number[], specialTokens = false): string[] {
  const detokenizer = new Detokenizer(table, { specialTokens });
  return [...ids.map((id) => detokenizer.push(id)), detokenizer.end()];
}

const everyByte = tableOf(Array.from({ length: 256 }, (_, byte) => [byte]));

describe('Detokenizer', () => {
  it('gives each token its text', () => {
    expect(decode(tableOf(['Hello', ' wörld', '!']), [0, 1, 2, 2])).to.deep.equal(['Hello', ' wörld', '!', '!', '']);
  });

  it('holds a character until its last byte', () => {
    const table = tableOf([[0xf0, 0x9f], [0x98], [0x80, 0x21], 'x']);
    expect(decode(table, [3, 0, 1, 2, 3])).to.deep.equal(['x', '', '', '😀!', 'x', '']);
  });

  it('replaces a character that never completes', () => {
    const table = tableOf([[0xf0, 0x9f, 0x98], 'x', [0xff], [0x80]]);
    expect(decode(table, [0, 1])).to.deep.equal(['', '\ufffdx', '']);
    expect(decode(table, [0])).to.deep.equal(['', '\ufffd']);
    expect(decode(table, [2, 3, 1]).join('')).to.equal('\ufffd\ufffdx');
  });

  it('hides special tokens unless asked, without breaking a character around them', () => {
    const table = tableOf(['<s>', [0xc3], [0xa4]], { special: [0] });
    expect(decode(table, [0, 1, 0, 2]).join('')).to.equal('ä');
    expect(decode(table, [0, 1, 2], true).join('')).to.equal('<s>ä');
  });

  it('drops one leading space where the vocabulary wants it', () => {
    const table = tableOf([' Hi', '  two', '<s>', ''], { special: [2], strip: true });
    expect(decode(table, [2, 3, 0, 0]).join('')).to.equal('Hi Hi');
    expect(decode(table, [1]).join('')).to.equal(' two');
  });

  it('keeps a byte order mark', () => {
    expect(decode(everyByte, [0xef, 0xbb, 0xbf, 0x61]).join('')).to.equal('\ufeffa');
  });

  it('ignores ids beyond the vocabulary', () => {
    expect(decode(tableOf(['a']), [0, 7, 0]).join('')).to.equal('aa');
  });

  it('equals a UTF-8 decoder for any bytes', () => {
    const interesting = fc.constantFrom(
      ...[0x61, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff],
    );
    const whole = new TextDecoder('utf-8', { ignoreBOM: true });
    const bytes = fc.array(fc.oneof(interesting, fc.nat(255)), { maxLength: 24 });
    fc.assert(
      fc.property(bytes, (list) => decode(everyByte, list).join('') === whole.decode(Uint8Array.from(list))),
      { numRuns: 20_000 },
    );
  });

  it('equals a UTF-8 decoder for any tokens', () => {
    const token = fc.oneof(fc.string({ unit: 'grapheme' }), fc.array(fc.nat(255), { maxLength: 5 }));
    const whole = new TextDecoder('utf-8', { ignoreBOM: true });
    fc.assert(
      fc.property(fc.array(token, { minLength: 1, maxLength: 12 }), (tokens) => {
        const table = tableOf(tokens);
        const ids = tokens.flatMap((_, i) => [i, tokens.length - 1 - i]);
        const all = ids.flatMap((id) => [...table.data.subarray(table.offsets[id], table.offsets[id + 1])]);
        expect(decode(table, ids).join('')).to.equal(whole.decode(Uint8Array.from(all)));
        expect(decode(table, ids).join('')).to.equal(whole.decode(Uint8Array.from(all)), 'with cached texts');
      }),
      { numRuns: 1000 },
    );
  });

  it('refuses offsets that fall or leave the data', () => {
    const message = { data: new Uint8Array(2), specialTokenIds: [], eosTokenIds: [], stripLeadingSpace: false };
    expect(() => createTokenTable({ ...message, offsets: [0, 2, 1] })).to.throw(RangeError, 'offsets');
    expect(() => createTokenTable({ ...message, offsets: [0, 3] })).to.throw(RangeError, 'offsets');
  });
});
