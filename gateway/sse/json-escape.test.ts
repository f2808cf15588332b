import { expect } from 'chai';
import fc from 'fast-check';
import { escapeJson, isPlainAscii } from './json-escape.ts';

describe('escapeJson', () => {
  it('writes what JSON.stringify writes, for any UTF-16', () => {
    const anyText = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'grapheme' }),
      fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
      fc
        .array(fc.constantFrom('\ud83d', '\ude00', 'a', '"', '\\', '\n', '\u2028', '\u007f'))
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(anyText, (text) => {
        expect(`"${escapeJson(text)}"`).to.equal(JSON.stringify(text));
      }),
      { numRuns: 2000 },
    );
  });

  it('tells text of one byte a character from the rest', () => {
    expect(isPlainAscii(' token')).to.equal(true);
    for (const text of ['"', '\\', '\n', '\u007f', 'é', '😀']) expect(isPlainAscii(text), text).to.equal(false);
  });
});
