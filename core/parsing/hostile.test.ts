import { expect } from 'chai';
import type { ReasoningFormat, ToolFormat } from './context.ts';
import { reasoningFormats, toolFormats } from './registry.ts';
import { cases } from './testing/cases.ts';
import { Collector, createParser, cut, parsePieces, type Setup, seeded } from './testing/collect.ts';

function work(setup: Setup, text: string, length: number): number {
  const collector = new Collector();
  const parser = createParser(setup, collector);
  for (let at = 0; at < text.length; at += length) parser.push(text.slice(at, at + length));
  parser.finish();
  collector.answer();
  return parser.work;
}

/** Texts that make careless parsers look at the same text over and over, one of each 1000 repetitions. */
function hostileTexts(tool: ToolFormat): string[] {
  const start = tool.starts[0] ?? '';
  const units = [
    ' ',
    '\n',
    '<',
    '{',
    '[',
    '"',
    '\\',
    'a',
    start,
    start.slice(0, -1),
    ...(tool.hidden ?? []).slice(0, 2),
  ];
  const heads = [
    '',
    start,
    `${start}{"name":"f","arguments":{"a":"`,
    `${start}{"arguments":"`,
    `${start}\n<function=f>\n<parameter=a>`,
    `${start}<function=f><parameter=a></parameter>`,
    `${start}f<arg_key>a</arg_key><arg_value>`,
    '[f(a="',
    '[f(a=',
  ];
  return heads.flatMap((head) => units.map((unit) => head + unit.repeat(1000)));
}

describe('parsing of hostile text', () => {
  for (const tool of toolFormats) {
    const name = tool.names[0] ?? '';
    it(`looks at every unit a bounded number of times: ${name}`, () => {
      const setup = { tool: name, reasoning: 'basic' };
      for (const text of hostileTexts(tool)) {
        for (const length of [1, 5]) {
          const perUnit = work(setup, text, length) / text.length;
          expect(perUnit, `${JSON.stringify(text.slice(0, 60))} in pieces of ${length}`).to.be.below(64);
        }
      }
    });

    it(`means the same however scrambled markup is cut: ${name}`, () => {
      const random = seeded(name.length * 31 + name.charCodeAt(0));
      const partners: readonly (ReasoningFormat | null)[] = [null, ...reasoningFormats];
      for (let round = 0; round < 300; round++) {
        const reasoning = partners[Math.floor(random() * partners.length)]?.names[0];
        const setup: Setup = { tool: name, ...(reasoning === undefined ? {} : { reasoning }) };
        const text = scramble(tool, random);
        const whole = JSON.stringify(parsePieces(setup, [text]));
        for (const mean of [1, 6]) {
          const pieces = cut(text, random, mean);
          expect(JSON.stringify(parsePieces(setup, pieces)), JSON.stringify([setup, pieces])).to.equal(whole);
        }
        expect(JSON.stringify(parsePieces(setup, text.split(''))), JSON.stringify([setup, text])).to.equal(whole);
      }
    });
  }

  it('takes a head without an end for text, all of it', () => {
    const heads = [
      ['qwen3_coder', '<tool_call><function='],
      ['glm47', '<tool_call>'],
      ['kimi_k2', '<|tool_call_begin|>'],
      ['gemma4', '<|tool_call>call:'],
      ['harmony', '<|channel|>'],
      ['minimax_m2', '<minimax:tool_call><invoke '],
    ] as const;
    for (const [tool, head] of heads) {
      const text = `${head}${'x'.repeat(5000)}!`;
      for (const length of [1, 7, 4096, 6000]) {
        const pieces = text.match(new RegExp(`[\\s\\S]{1,${length}}`, 'g')) ?? [];
        const answer = parsePieces({ tool }, pieces);
        expect(answer.content, `${tool} in pieces of ${length}`).to.equal(text);
        expect(answer.calls).to.deep.equal([]);
      }
      // What comes before the end of the text is not withheld for ever.
      const collector = new Collector();
      createParser({ tool }, collector).push(text);
      expect(collector.answer().content, tool).to.equal(text);
    }
  });

  it('bounds the nesting of arguments', () => {
    const call = (depth: number): string =>
      `<tool_call>{"name":"f","arguments":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}</tool_call>`;
    expect(parsePieces({ tool: 'hermes' }, [call(400)]).calls[0]?.complete).to.equal(true);
    expect(parsePieces({ tool: 'hermes' }, [call(600)]).calls[0]?.complete).to.equal(false);
  });

  it('gives text without markup back unchanged', () => {
    const random = seeded(3);
    for (const tool of toolFormats) {
      for (let round = 0; round < 50; round++) {
        const text = Array.from({ length: 60 }, () => 'ab <>|[]{}"\n:='.charAt(Math.floor(random() * 14))).join('');
        const answer = parsePieces({ tool: tool.names[0] ?? '', tools: [{ name: 'f' }] }, cut(text, random));
        expect(answer.content, tool.names[0]).to.equal(text);
      }
    }
  });
});

/** Pieces of the format's own cases and markers in a random order. */
function scramble(tool: ToolFormat, random: () => number): string {
  const own = cases.filter((test) => tool.names.includes(test.setup.tool ?? '')).map((test) => test.text);
  const words = [
    ...tool.starts,
    ...(tool.hidden ?? []),
    '<think>',
    '</think>',
    '{"name":"f","arguments":{}}',
    '\n',
    ' ',
    'x',
    '}',
    ']',
    '{',
    '"',
    '😀',
  ];
  let text = '';
  const count = 2 + Math.floor(random() * 8);
  for (let i = 0; i < count; i++) {
    const source = own[Math.floor(random() * own.length)] ?? '';
    const from = Math.floor(random() * source.length);
    if (random() < 0.5) text += words[Math.floor(random() * words.length)];
    else text += source.slice(from, from + Math.floor(random() * 60));
  }
  return text;
}
