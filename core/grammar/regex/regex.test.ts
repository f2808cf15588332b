import { expect } from 'chai';
import fc from 'fast-check';
import { regexGrammar } from '../constraints.ts';
import { GbnfMatcher } from '../testing/matcher.ts';
import { refusal } from '../testing/refusal.ts';
import { matchesRegex } from './match.ts';
import { searchRegex, wholeRegex } from './parse.ts';

describe('regular expressions', () => {
  it('become grammars of the same texts', () => {
    const cases: [string, string[], string[]][] = [
      ['abc', ['abc'], ['ab', 'abcd', '']],
      ['a|bc|', ['a', 'bc', ''], ['b', 'abc']],
      ['(?:ab)+c?', ['ab', 'ababc'], ['c', 'abb']],
      ['[a-c]{2,3}', ['ab', 'abc'], ['a', 'abca', 'ad']],
      ['[^a-c\\d]', ['x', 'é', '😀', '\n'], ['a', '5', 'xx']],
      ['\\d{3}-\\w+', ['123-a_9'], ['12-a', '123-']],
      ['.\\.', ['x.'], ['\n.', 'xy']],
      ['(a*)*b', ['b', 'aaab'], ['a']],
      ['(?<year>\\d{4})', ['2026'], ['26']],
      ['(a?){3}', ['', 'a', 'aaa'], ['aaaa']],
      ['^(yes|no)$', ['yes', 'no'], ['maybe', 'yesno']],
      ['[\\]\\-"^]+', [']-"^'], ['a']],
      ['\\x41\\u0042\\u{1F600}\\uD83D\\uDE00', ['AB😀😀'], ['AB']],
      ['[a\\-z]', ['a', '-', 'z'], ['b']],
      ['x{0}', [''], ['x']],
      ['\\cA\\t\\0', ['\u0001\t\0'], ['']],
      ['a{2,}?b', ['aab', 'aaaab'], ['ab']],
    ];
    for (const [source, matching, others] of cases) {
      const grammar = new GbnfMatcher(regexGrammar(source));
      const regex = wholeRegex(source);
      for (const text of matching) {
        expect(grammar.matches(text), `${source} takes ${JSON.stringify(text)}`).to.equal(true);
        expect(matchesRegex(regex, text), source).to.equal(true);
      }
      for (const text of others) {
        expect(grammar.matches(text), `${source} leaves ${JSON.stringify(text)}`).to.equal(false);
        expect(matchesRegex(regex, text), source).to.equal(false);
      }
    }
  });

  it('match what JavaScript matches, whatever they are', () => {
    const atom = fc.constantFrom('a', 'b', '[ab]', '[^a]', '.', '\\d', '(?:ab|c)', '(a|)', '(?:b*)');
    const quantifier = fc.constantFrom('', '', '*', '+', '?', '{2}', '{1,3}', '{2,}');
    const piece = fc.tuple(atom, quantifier).map((parts) => parts.join(''));
    const source = fc
      .array(fc.array(piece, { maxLength: 4 }), { minLength: 1, maxLength: 3 })
      .map((options) => options.map((o) => o.join('')).join('|'));
    const text = fc.array(fc.constantFrom('a', 'b', 'c', '1'), { maxLength: 7 }).map((letters) => letters.join(''));
    fc.assert(
      fc.property(source, text, (expression, sample) => {
        const grammar = new GbnfMatcher(regexGrammar(expression));
        expect(grammar.matches(sample)).to.equal(new RegExp(`^(?:${expression})$`, 'u').test(sample));
        expect(matchesRegex(searchRegex(expression), sample)).to.equal(new RegExp(expression, 'u').test(sample));
      }),
      { numRuns: 500 },
    );
  });

  it('take no longer for expressions that backtracking never ends on', () => {
    expect(matchesRegex(wholeRegex('(a+)+b'), 'a'.repeat(2000))).to.equal(false);
    expect(matchesRegex(wholeRegex('(a|a)*b'), 'a'.repeat(2000))).to.equal(false);
  });

  it('are refused where they are not regular, or no expressions at all', () => {
    const cases: [string, string][] = [
      ['(?=a)', 'unsupported'],
      ['(?<!a)b', 'unsupported'],
      ['(a)\\1', 'unsupported'],
      ['\\bword', 'unsupported'],
      ['a^b', 'unsupported'],
      ['(a$)b', 'unsupported'],
      ['\\p{L}', 'unsupported'],
      ['a++', 'unsupported'],
      ['a{5000}', 'unsupported'],
      ['(', 'invalid'],
      ['a)', 'invalid'],
      ['*a', 'invalid'],
      ['a**', 'invalid'],
      ['[b-a]', 'invalid'],
      ['[a', 'invalid'],
      ['\\', 'invalid'],
      ['a{3,1}', 'invalid'],
      ['\\xg', 'invalid'],
      ['[^\\s\\S]', 'invalid'],
    ];
    for (const [source, kind] of cases) expect(refusal(() => regexGrammar(source)).kind, source).to.equal(kind);
    expect(refusal(() => regexGrammar('('.repeat(500))).kind).to.equal('unsupported');
  });
});
