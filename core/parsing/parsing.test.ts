import { expect } from 'chai';
import { cases } from './testing/cases.ts';
import { cut, parseEveryWay, parsePieces, seeded } from './testing/collect.ts';

describe('OutputParser', () => {
  for (const test of cases) {
    it(`${test.name}, however it is cut`, () => {
      const { whole, differing } = parseEveryWay(test.setup, test.text, seeded(7));
      expect(whole.content, 'content').to.equal(test.content ?? '');
      expect(whole.reasoning, 'reasoning').to.equal(test.reasoning ?? '');
      const calls = (test.calls ?? []).map(([name, json, mark]) => ({
        name,
        id: mark === undefined || mark === '…' ? null : mark,
        arguments: json,
        complete: mark !== '…',
      }));
      expect(whole.calls).to.deep.equal(calls);
      expect(differing.slice(0, 3)).to.deep.equal([]);
    });
  }

  it('ends well whatever is left out, doubled or swapped, and means the same however it is cut', () => {
    const random = seeded(11);
    for (const test of cases) {
      for (let round = 0; round < 60; round++) {
        const text = mutate(test.text, random);
        const whole = JSON.stringify(parsePieces(test.setup, [text]));
        const pieces = cut(text, random);
        expect(JSON.stringify(parsePieces(test.setup, pieces)), JSON.stringify(pieces)).to.equal(whole);
      }
    }
  });

  it('ends well at every truncation', () => {
    for (const test of cases) {
      for (let length = 0; length < test.text.length; length++) parsePieces(test.setup, [test.text.slice(0, length)]);
    }
  });
});

function mutate(text: string, random: () => number): string {
  let out = text;
  const edits = 1 + Math.floor(random() * 3);
  for (let i = 0; i < edits; i++) {
    const from = Math.floor(random() * out.length);
    const to = Math.min(out.length, from + 1 + Math.floor(random() * 12));
    const middle = out.slice(from, to);
    const kind = Math.floor(random() * 4);
    const at = Math.floor(random() * out.length);
    if (kind === 0) out = out.slice(0, from) + out.slice(to);
    else if (kind === 1) out = out.slice(0, to) + middle + out.slice(to);
    else if (kind === 2) out = out.slice(0, at) + middle + out.slice(at);
    else out = out.slice(0, from) + '<>{}[]"\\|\n '.charAt(Math.floor(random() * 11)) + out.slice(to);
  }
  return out;
}
