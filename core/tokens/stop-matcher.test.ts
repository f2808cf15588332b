import { expect } from 'chai';
import fc from 'fast-check';
import { StopMatcher } from './stop-matcher.ts';

interface Outcome {
  readonly text: string;
  readonly stopped: string | null;
}

function feed(stops: readonly string[], pieces: readonly string[], include = false): Outcome {
  const matcher = new StopMatcher(stops, { include });
  let text = '';
  for (const piece of pieces) {
    const match = matcher.push(piece);
    text += match.text;
    if (match.stopped !== null) return { text, stopped: match.stopped };
  }
  return { text: text + matcher.end(), stopped: null };
}

/** The specification: the match that ends first, the longest of those. */
function search(stops: readonly string[], text: string): Outcome {
  for (let end = 1; end <= text.length; end++) {
    const here = stops.filter((stop) => stop !== '' && text.slice(0, end).endsWith(stop));
    const stopped = here.sort((a, b) => b.length - a.length)[0];
    if (stopped !== undefined) return { text: text.slice(0, end - stopped.length), stopped };
  }
  return { text, stopped: null };
}

describe('StopMatcher', () => {
  it('finds a stop string that is spread over pieces', () => {
    expect(feed(['</s>'], ['Hello', ' <', '/', 's', '> more'])).to.deep.equal({ text: 'Hello ', stopped: '</s>' });
  });

  it('keeps the stop string when asked to', () => {
    expect(feed(['END'], ['a E', 'ND b'], true)).to.deep.equal({ text: 'a END', stopped: 'END' });
  });

  it('withholds no more than what may still become a stop string', () => {
    const matcher = new StopMatcher(['abcd', 'bcx'], { include: false });
    expect(matcher.push('zab').text).to.equal('z');
    expect(matcher.push('c').text).to.equal('');
    expect(matcher.push('y').text).to.equal('abcy');
    expect(matcher.push('abc').text).to.equal('');
    expect(matcher.push('x')).to.deep.equal({ text: 'a', stopped: 'bcx' });
  });

  it('releases the withheld tail at the end', () => {
    expect(feed(['\n\n'], ['line\n'])).to.deep.equal({ text: 'line\n', stopped: null });
  });

  it('drops what follows a match', () => {
    const matcher = new StopMatcher(['.'], { include: false });
    expect(matcher.push('a.b').text).to.equal('a');
    expect(matcher.push('c')).to.deep.equal({ text: '', stopped: '.' });
    expect(matcher.end()).to.equal('');
  });

  it('never parts or matches half of a surrogate pair', () => {
    const matcher = new StopMatcher(['\ude00', '😁!'], { include: false });
    expect(matcher.push('a\ud83d').text).to.equal('a');
    expect(matcher.push('\ude00').text).to.equal('😀');
    expect(matcher.push('😁').text).to.equal('');
    expect(matcher.push('?').text).to.equal('😁?');
    const other = new StopMatcher(['x'], { include: false });
    expect(other.push('\ud83d').text).to.equal('');
    expect(other.push('\ude00').text).to.equal('😀');
  });

  it('equals a plain search however the text is cut', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', '😀'), maxLength: 4 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '😀'), maxLength: 40 });
    const cuts = fc.array(fc.nat(40), { maxLength: 8 });
    fc.assert(
      fc.property(fc.array(word, { maxLength: 4 }), text, cuts, fc.boolean(), (stops, all, at, include) => {
        const places = [0, ...at.sort((a, b) => a - b), all.length];
        const pieces = places.slice(1).map((end, i) => all.slice(places[i], end));
        const expected = search(stops, all);
        const shown = expected.text + (include ? (expected.stopped ?? '') : '');
        expect(feed(stops, pieces, include)).to.deep.equal({ text: shown, stopped: expected.stopped });
      }),
      { numRuns: 2000 },
    );
  });
});
