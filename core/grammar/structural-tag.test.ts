import { expect } from 'chai';
import { GrammarError } from './error.ts';
import { structuralTagGrammar } from './structural-tag.ts';
import { GbnfMatcher } from './testing/matcher.ts';
import { refusal } from './testing/refusal.ts';

function check(format: unknown, valid: readonly string[], invalid: readonly string[]): void {
  const grammar = new GbnfMatcher(structuralTagGrammar({ type: 'structural_tag', format }));
  for (const text of valid) expect(grammar.matches(text), `takes ${text}`).to.equal(true);
  for (const text of invalid) expect(grammar.matches(text), `leaves ${text}`).to.equal(false);
}

const integer = { type: 'json_schema', json_schema: { type: 'integer' } };
const call = { type: 'tag', begin: '<call>f(', content: integer, end: ')</call>' };
const other = {
  type: 'tag',
  begin: '<call>g(',
  content: { type: 'const_string', value: 'x' },
  end: [')</call>', ');'],
};

describe('structural tags', () => {
  it('are constants, regular expressions, grammars and schemas in a row or one of several', () => {
    check({ type: 'const_string', value: 'a"b\n' }, ['a"b\n'], ['a']);
    check({ type: 'regex', pattern: '[ab]+' }, ['abba'], ['', 'c']);
    const grammar = 'root ::= item ("," item)*   # a list\nitem ::= [a-z"] | "root" |\n  "#"';
    check({ type: 'grammar', grammar }, ['a', 'a,b', 'root,"', '#'], ['A', 'a,']);
    check(
      { type: 'sequence', elements: [{ type: 'const_string', value: 'n=' }, integer] },
      ['n=5', 'n= 5'],
      ['5', 'n=x'],
    );
    check({ type: 'or', elements: [{ type: 'const_string', value: 'no' }, integer] }, ['no', '5'], ['yes', 'no5']);
  });

  it('let free text run up to what ends it', () => {
    check({ type: 'any_text' }, ['', 'anything <call>'], []);
    check({ type: 'any_text', excludes: ['bad', 'ban'] }, ['', 'ba', 'good bat'], ['a bad one', 'banana']);
    const think = { type: 'tag', begin: '<think>', content: { type: 'any_text' }, end: '</think>' };
    const thought = { type: 'sequence', elements: [think, integer] };
    check(
      thought,
      ['<think></think>5', '<think>a </ </thin <think> b</think>\n\n5'],
      ['5', '<think>x5', '<think>a</think>b</think>5'],
    );
    check({ type: 'or', elements: [thought, integer] }, ['5', '<think>x</think>5'], ['x5', '<think>5']);
  });

  it('begin tags where triggers are, as often as they may', () => {
    const tags = { type: 'triggered_tags', triggers: ['<call>'], tags: [call, other] };
    check(
      tags,
      ['', 'text', 'a <call>f(1)</call> b <call>g(x);c', '<cal <call>f(-2)</call>'],
      ['<call>', '<call>h(1)</call>', 'a <call>f(x)</call>'],
    );
    check(
      { ...tags, at_least_one: true },
      ['a <call>f(1)</call>', '<call>f(1)</call> b <call>f(2)</call>'],
      ['', 'text'],
    );
    check({ ...tags, stop_after_first: true }, ['a', 'a <call>f(1)</call>'], ['<call>f(1)</call> b']);
    check(
      { ...tags, at_least_one: true, stop_after_first: true },
      ['a <call>f(1)</call>'],
      ['a', '<call>f(1)</call> b'],
    );
    check({ ...tags, excludes: ['<think>'] }, ['a'], ['a <think>']);
  });

  it("write arguments as Qwen3-Coder's parameters", () => {
    const properties = { city: { type: 'string' }, days: { type: 'integer' }, unit: { enum: ['C', 'F'] } };
    const schema = { type: 'object', properties, required: ['city'] };
    const one = (name: string, value: string) => `<parameter=${name}>\n${value}\n</parameter>\n`;
    check(
      { type: 'tag', begin: '<f>', content: { type: 'qwen_xml_parameter', json_schema: schema }, end: '</f>' },
      [`<f>${one('city', 'Den "Haag"\n<b>')}</f>`, `<f>${one('city', '')}${one('days', '3')}${one('unit', 'C')}</f>`],
      ['<f></f>', `<f>${one('city', 'x')}${one('days', 'three')}</f>`, `<f>${one('city', 'x')}${one('unit', 'K')}</f>`],
    );
  });

  it('write arguments as the tagged parameters of other models', () => {
    const properties = { city: { type: 'string' }, days: { type: ['integer', 'null'] } };
    const schema = { type: 'object', properties, required: ['city'] };
    const styles: Readonly<Record<string, (name: string, value: string, text: boolean) => string>> = {
      minimax_xml: (name, value) => `<parameter name="${name}">${value}</parameter>\n`,
      glm_xml: (name, value) => `<arg_key>${name}</arg_key>\n<arg_value>${value}</arg_value>\n`,
      deepseek_xml: (name, value, text) =>
        `<｜DSML｜parameter name="${name}" string="${text}">${value}</｜DSML｜parameter>\n`,
    };
    for (const [style, one] of Object.entries(styles)) {
      const content = { type: 'json_schema', style, json_schema: schema };
      const city = one('city', 'Den "Haag"\n<b>', true);
      check(
        { type: 'tag', begin: '<f>', content, end: '</f>' },
        [`<f>${city}</f>`, `<f>${city}${one('days', '3', false)}</f>`, `<f>${city}${one('days', 'null', false)}</f>`],
        ['<f></f>', `<f>${city}${one('days', 'three', false)}</f>`, `<f>${one('days', '3', false)}</f>`],
      );
      const odd = {
        ...content,
        json_schema: { ...schema, properties: { 'a"': { type: 'string' } }, required: ['a"'] },
      };
      expect(() => structuralTagGrammar({ format: odd })).to.throw(GrammarError);
    }
    expect(() => structuralTagGrammar({ format: { type: 'json_schema', style: 'x', json_schema: {} } })).to.throw(
      GrammarError,
    );
  });

  it('follow each other with a separator', () => {
    const tags = { type: 'tags_with_separator', tags: [call, other], separator: ';' };
    check(tags, ['', '<call>f(1)</call>', '<call>f(1)</call>;<call>g(x)</call>'], ['<call>f(1)</call>;', 'a']);
    check(
      { ...tags, at_least_one: true, stop_after_first: true },
      ['<call>f(1)</call>'],
      ['', '<call>f(1)</call>;<call>f(1)</call>'],
    );
  });

  it('are read in their first form too', () => {
    const first = { structures: [{ begin: '<f=', schema: { type: 'integer' }, end: '>' }], triggers: ['<f='] };
    const grammar = new GbnfMatcher(structuralTagGrammar({ type: 'structural_tag', ...first }));
    expect(grammar.matches('a <f=1> b')).to.equal(true);
    expect(grammar.matches('a <f=x> b')).to.equal(false);
  });

  it('are refused where they say nothing that could be kept to, with the place', () => {
    const cases: [unknown, string, string][] = [
      [null, 'invalid', '#/format'],
      [{ type: 'poem' }, 'unsupported', '#/format/type'],
      [{ type: 'regex' }, 'invalid', '#/format/pattern'],
      [{ type: 'sequence', elements: [{ type: 'any_text' }, integer] }, 'unsupported', '#/format/elements/0'],
      [{ type: 'tag', begin: 'a', content: { type: 'triggered_tags' }, end: 'b' }, 'unsupported', '#/format/content'],
      [{ type: 'triggered_tags', triggers: ['<x>'], tags: [call] }, 'invalid', '#/format/triggers/0'],
      [{ type: 'grammar', grammar: 'a ::= "b"' }, 'invalid', ''],
      [{ type: 'json_schema', json_schema: { contains: {} } }, 'unsupported', '#/contains'],
    ];
    for (const [format, kind, path] of cases) {
      expect(
        refusal(() => structuralTagGrammar({ format })),
        JSON.stringify(format),
      ).to.include({ kind, path });
    }
    expect(refusal(() => structuralTagGrammar(5)).kind).to.equal('invalid');
  });
});
