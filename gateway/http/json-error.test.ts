import { expect } from 'chai';
import fc from 'fast-check';
import { findJsonError } from './json-error.ts';

describe('findJsonError', () => {
  const cases: readonly (readonly [string, number, RegExp])[] = [
    ['', 0, /unexpected end/],
    ['{', 1, /unexpected end/],
    ['{"a":}', 5, /expected a value but found "}"/],
    ['{"a":1,}', 7, /property name/],
    ['[1,]', 3, /expected a value/],
    ["{'a':1}", 1, /property name in double quotes/],
    ['{"a" 1}', 5, /expected ":"/],
    ['{"a":1 "b":2}', 7, /expected "," or "}"/],
    ['"a\nb"', 2, /control character U\+000A/],
    ['"a\\x"', 2, /bad escape/],
    ['"abc', 4, /unterminated/],
    ['{} x', 3, /after the end/],
    ['nul', 0, /expected a value/],
    ['01', 1, /after the end/],
    ['{"a":tru}', 5, /expected a value/],
  ];
  for (const [text, position, message] of cases) {
    it(`finds the fault of ${JSON.stringify(text)} at ${position}`, () => {
      const error = findJsonError(text);
      expect(error.position).to.equal(position);
      expect(error.message).to.match(message);
    });
  }

  it('counts lines and columns from 1', () => {
    expect(findJsonError('{\n  "a": oops\n}')).to.include({ line: 2, column: 8 });
  });

  it('finds a fault in exactly the texts that JSON.parse refuses', () => {
    const mutated = fc
      .tuple(fc.json(), fc.nat(), fc.constantFrom('', '"', '}', ']', ',', ':', '\\', '0', 'x', '\n'))
      .map(([json, at, insert]) => {
        const place = at % (json.length + 1);
        return json.slice(0, place) + insert + json.slice(place + (at % 2));
      });
    fc.assert(
      fc.property(mutated, (text) => {
        let parses = true;
        try {
          JSON.parse(text);
        } catch {
          parses = false;
        }
        expect(findJsonError(text).message === 'it cannot be read', text).to.equal(parses);
      }),
      { numRuns: 2000 },
    );
  });

  it('survives nesting and strings of any size', () => {
    expect(findJsonError('['.repeat(1_000_000)).position).to.equal(1_000_000);
    expect(findJsonError(`"${'a'.repeat(5_000_000)}`).message).to.match(/unterminated/);
  });
});
