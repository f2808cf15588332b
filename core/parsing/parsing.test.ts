import { expect } from 'chai';
import { cases } from './testing/cases.ts';
import { createParser, cut, parseEveryWay, parsePieces, seeded } from './testing/collect.ts';
import { weatherTools } from './testing/tools.ts';

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

  it('sends neighbours of one kind as one piece, and nothing later than it must', () => {
    const events: string[] = [];
    const parser = createParser(
      { tool: 'qwen3_coder', reasoning: 'basic', tools: weatherTools },
      {
        content: (text) => events.push(`T ${text}`),
        reasoning: (text) => events.push(`R ${text}`),
        callStart: (index, name) => events.push(`C${index} ${name}`),
        callArguments: (index, json) => events.push(`A${index} ${json}`),
        callEnd: (index, complete) => events.push(`E${index} ${complete}`),
      },
    );
    const pushed = (text: string): string[] => {
      parser.push(text);
      return events.splice(0);
    };
    expect(pushed('<think>hm')).to.deep.equal(['R hm']);
    expect(pushed(' hm<')).to.deep.equal(['R  hm']);
    expect(parser.inReasoning).to.equal(true);
    expect(pushed('/think>Hi <')).to.deep.equal(['T Hi ']);
    expect(parser.inReasoning).to.equal(false);
    expect(pushed('b> <tool_call>\n<function=get_weather>')).to.deep.equal(['T <b> ', 'C0 get_weather', 'A0 {']);
    expect(pushed('<parameter=days>3</parameter>\n<parameter=city>\nPar')).to.deep.equal(['A0 "days":3,"city":"Par']);
    expect(pushed('is')).to.deep.equal(['A0 is']);
    expect(pushed('\n</parameter></function>')).to.deep.equal(['A0 "}', 'E0 true']);
    parser.finish();
    expect(events).to.deep.equal([]);
    expect(parser.calls).to.equal(1);
    expect(parser.incomplete).to.equal(false);
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
