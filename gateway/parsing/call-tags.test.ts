import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'chai';
import { type CallTool, callSchema } from '#core/grammar/calls/tool.ts';
import { GrammarError } from '#core/grammar/error.ts';
import { structuralTagGrammar } from '#core/grammar/structural-tag.ts';
import { GbnfMatcher } from '#core/grammar/testing/matcher.ts';
import { refusal } from '#core/grammar/testing/refusal.ts';
import { GbnfSampler } from '#core/grammar/testing/sampler.ts';
import { findToolFormat, toolFormats } from '#core/parsing/registry.ts';
import { parsePieces, seeded } from '#core/parsing/testing/collect.ts';
import { callsAlone, callsInText, canCallAlone, hasCallTags } from './call-tags.ts';
import { randomSchemas } from './testing/random-schemas.ts';

/** Formats with arguments in JSON, which have a test suite of their own. */
const plain: ReadonlySet<string> = new Set([
  'hermes',
  'llama3_json',
  'mistral',
  'phi4',
  'jamba',
  'granite',
  'nemotron_deci',
  'harmony',
  'deepseek_v3',
  'deepseek_v3_1',
  'kimi_k2',
  'inkling',
  'default',
]);
const m3 = ']<]minimax[>[';
const tagged = toolFormats.filter((format) => hasCallTags(format)).map(({ names }) => names[0] ?? '');

function formatNamed(name: string) {
  const format = findToolFormat(name);
  if (format === undefined) throw new Error(`no format ${name}`);
  return format;
}

function grammarOf(name: string, tools: readonly CallTool[], parallel = true): string {
  const format = formatNamed(name);
  const calls = canCallAlone(format) ? callsAlone(format, tools, parallel) : callsInText(format, tools, parallel);
  return structuralTagGrammar({ type: 'structural_tag', format: calls });
}

function strict(name: string, parameters: unknown): CallTool {
  return { name, parameters, strict: true };
}

/** Checks texts of a grammar: what the parser reads from them are calls whose arguments the schemas allow. */
function checkTexts(name: string, tools: readonly CallTool[], seed: number, count: number): number {
  const sampler = new GbnfSampler(grammarOf(name, tools), seeded(seed));
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const schemas = new Map(tools.map((tool) => [tool.name, ajv.compile(callSchema(tool) as object)]));
  let calls = 0;
  for (let round = 0; round < count; round++) {
    const text = sampler.sample();
    const answer = parsePieces({ tool: name, tools }, [text]);
    const told = `${JSON.stringify(tools)}\n${text}\n${JSON.stringify(answer)}`;
    if (canCallAlone(formatNamed(name))) {
      expect(answer.calls.length, told).to.be.greaterThan(0);
      expect(answer.content.trim(), told).to.equal('');
    }
    for (const call of answer.calls) {
      expect(call.complete, told).to.equal(true);
      const valid = schemas.get(call.name);
      expect(valid?.(JSON.parse(call.arguments)), `${told}\n${JSON.stringify(valid?.errors)}`).to.equal(true);
      calls++;
    }
  }
  return calls;
}

function compiles(name: string, tools: readonly CallTool[]): boolean {
  try {
    grammarOf(name, tools);
    return true;
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    expect(error.path, error.message).to.match(/^#/);
    return false;
  }
}

describe('tags of calls', () => {
  it('are there for every format of calls', () => {
    expect(toolFormats.filter((format) => !hasCallTags(format)).map(({ names }) => names[0])).to.deep.equal([]);
  });

  for (const name of tagged) {
    it(`let ${name} write nothing that its parser reads as other arguments than the schemas allow`, () => {
      let [calls, compiled] = [0, 0];
      const total = plain.has(name) ? 3 : 12;
      for (let seed = 1; seed <= total; seed++) {
        const random = randomSchemas(seeded(seed));
        const tools = [strict('f', random.object()), strict('get_it', random.object())];
        if (!compiles(name, tools)) continue;
        compiled++;
        calls += checkTexts(name, tools, seed, 8);
      }
      expect(compiled, 'most schemas are taken').to.be.greaterThan(total * 0.5);
      if (canCallAlone(formatNamed(name))) expect(calls).to.be.greaterThan(compiled);
    });
  }

  it('leave the arguments of other tools open, and text', () => {
    const parameters = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
    const tools: CallTool[] = [strict('f', parameters), { name: 'open', parameters, strict: false }];
    for (const name of tagged) {
      const format = callsInText(formatNamed(name), tools, true);
      const sampler = new GbnfSampler(structuralTagGrammar({ format }), seeded(7));
      for (let round = 0; round < 20; round++) {
        const text = sampler.sample();
        const answer = parsePieces({ tool: name, tools }, [text]);
        for (const call of answer.calls) {
          const told = `${name}: ${text}`;
          expect(call.complete, told).to.equal(true);
          if (call.name === 'f') expect(JSON.parse(call.arguments).a, told).to.satisfy(Number.isInteger);
        }
      }
    }
  });

  it('let answers in Python be text until they call a tool', () => {
    const parameters = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };
    const tools = [strict('f', parameters), strict('f_2', parameters)];
    const grammar = (parallel: boolean): GbnfMatcher =>
      new GbnfMatcher(structuralTagGrammar({ format: callsInText(formatNamed('pythonic'), tools, parallel) }));
    const taken = [
      '',
      'Hi [f(x)]',
      '[1, 2] and more',
      '[fx(1)]',
      '[f',
      ' [f_2',
      '[f(a=1)]',
      '\n[ f_2 (a=1), f(a=-2)]',
      'ok <|python_start|>[f(a=1)]<|python_end|>',
      '[f(a=1)] [f(a=2)]',
    ];
    const left = [
      '[f(',
      '[f(a="x")]',
      ' [ f_2\n(a=x)]',
      '[f()]',
      'ok <|python_start|>[f(a=b)]',
      '[f(a=1)] [f(a=b)]',
      '[f(a=1), g()]',
    ];
    for (const text of taken) expect(grammar(true).matches(text), text).to.equal(true);
    for (const text of left) expect(grammar(true).matches(text), text).to.equal(false);
    expect(grammar(false).matches('[f(a=1)]')).to.equal(true);
    expect(grammar(false).matches('[f(a=1), f(a=2)]')).to.equal(false);
    expect(grammar(false).matches('[f(a=1)] [f(a=2)]')).to.equal(false);
  });

  it('write no string that the parser reads as a value that is not allowed', () => {
    const values = {
      n: [
        { anyOf: [{ type: 'string' }, { type: 'integer', minimum: 100 }] },
        ['', 'two', 'x1', '100'],
        ['42', ' 42', '-1'],
      ],
      e: [{ enum: ['1', 2, 'null', 'true'] }, ['2', 'null', 'true'], ['1', '3']],
      o: [{ type: ['string', 'null'] }, ['', 'null', 'None', '42', 'x'], []],
      b: [{ type: ['string', 'object'] }, ['x', '{"a":1}'], ['[1]', ' {}']],
      l: [{ type: ['string', 'null'], minLength: 2, maxLength: 3 }, ['ab', 'null', '日本語'], ['a', 'abcd']],
    } as const;
    const writers: Readonly<Record<string, (key: string, value: string) => string>> = {
      qwen3_coder: (key, value) =>
        `<tool_call>\n<function=f>\n<parameter=${key}>\n${value}\n</parameter>\n</function>\n</tool_call>`,
      glm47: (key, value) => `<tool_call>f\n<arg_key>${key}</arg_key>\n<arg_value>${value}</arg_value>\n</tool_call>`,
      minimax_m2: (key, value) =>
        `<minimax:tool_call>\n<invoke name="f">\n<parameter name="${key}">${value}</parameter>\n</invoke>\n</minimax:tool_call>`,
      minimax_m3: (key, value) =>
        `${m3}<tool_call>\n${m3}<invoke name="f">${m3}<${key}>${value}${m3}</${key}>${m3}</invoke>\n${m3}</tool_call>`,
    };
    for (const [name, write] of Object.entries(writers)) {
      for (const [key, [schema, taken, left]] of Object.entries(values)) {
        const tools = [strict('f', { type: 'object', properties: { [key]: schema }, required: [key] })];
        const grammar = new GbnfMatcher(grammarOf(name, tools));
        const valid = new Ajv2020({ strict: false }).compile(tools[0]?.parameters as object);
        for (const value of taken) {
          const text = write(key, value);
          expect(grammar.matches(text), text).to.equal(true);
          const [call] = parsePieces({ tool: name, tools }, [text]).calls;
          expect(valid(JSON.parse(call?.arguments ?? 'null')), call?.arguments).to.equal(true);
        }
        for (const value of left) expect(grammar.matches(write(key, value)), write(key, value)).to.equal(false);
      }
    }
  });

  it('are written for as many tools as agents have, and not for ever', () => {
    const member = { type: ['string', 'null'], enum: ['a', 'b', null] };
    const items = { type: 'array', items: { type: 'object', properties: { on: { type: 'string', format: 'date' } } } };
    const keys = Array.from({ length: 12 }, (_, index) => `key_${index}`);
    const properties = Object.fromEntries(
      keys.map((key, index) => [key, [member, items, { type: 'integer' }][index % 3]]),
    );
    const many = Array.from({ length: 100 }, (_, index) =>
      strict(`tool_${index}`, { type: 'object', properties, required: keys }),
    );
    const alternatives = strict('g', {
      type: 'object',
      properties: { a: { oneOf: Array.from({ length: 5000 }, (_, i) => ({ const: i })) } },
    });
    for (const name of ['pythonic', 'gemma4', 'kimi_k3', 'minimax_m3']) {
      expect(compiles(name, many), name).to.equal(true);
      expect(compiles(name, [alternatives]), name).to.equal(false);
    }
  });

  it('refuse what a format cannot write, with its place', () => {
    const object = (name: string, schema: unknown) => ({ type: 'object', properties: { [name]: schema } });
    const date = { type: ['string', 'integer'], pattern: '^a' };
    const cases: [string, unknown, string][] = [
      ['pythonic', object('two words', {}), '#'],
      ['pythonic', object('a', { contains: {} }), '#/properties/a/contains'],
      ['gemma4', object('a', { const: 'x<|"|>y' }), '#/properties/a'],
      ['gemma4', object('a', { type: 'string', pattern: '\\|' }), '#/properties/a'],
      ['kimi_k3', object('a type=', {}), '#/properties'],
      ['kimi_k3', object('a', { type: 'string', pattern: '<' }), '#/properties/a'],
      ['minimax_m3', object('a>b', {}), '#'],
      ['minimax_m3', object('a', date), '#/properties/a'],
      ['minimax_m3', { type: 'object', additionalProperties: { type: 'integer' } }, '#'],
      ['qwen3_coder', object('a', date), '#/properties/a'],
      ['inkling', object('a', { contains: {} }), '#/properties/a/contains'],
    ];
    for (const [name, schema, path] of cases) {
      const { kind, path: place, message } = refusal(() => grammarOf(name, [strict('f', schema)]));
      expect([kind, place], `${name} ${JSON.stringify(schema)}: ${message}`).to.deep.equal(['unsupported', path]);
    }
    const refused = refusal(() => grammarOf('pythonic', [strict('1st', object('a', {}))]));
    expect(refused.message).to.include('1st');
  });
});
