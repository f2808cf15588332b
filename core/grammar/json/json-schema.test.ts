import { expect } from 'chai';
import fc from 'fast-check';
import { jsonSchemaGrammar } from '../constraints.ts';
import { structuralTagGrammar } from '../structural-tag.ts';
import { GbnfMatcher } from '../testing/matcher.ts';
import { refusal } from '../testing/refusal.ts';

function matcher(schema: unknown): GbnfMatcher {
  return new GbnfMatcher(jsonSchemaGrammar(schema));
}

/** Checks values that a schema allows and values that it does not. */
function check(schema: unknown, valid: readonly unknown[], invalid: readonly unknown[]): void {
  const grammar = matcher(schema);
  for (const value of valid)
    expect(grammar.matches(JSON.stringify(value)), `${JSON.stringify(schema)} takes ${JSON.stringify(value)}`).to.equal(
      true,
    );
  for (const value of invalid)
    expect(
      grammar.matches(JSON.stringify(value)),
      `${JSON.stringify(schema)} leaves ${JSON.stringify(value)}`,
    ).to.equal(false);
}

describe('grammars of JSON Schemas', () => {
  it('take what schemas allow, and nothing else', () => {
    check(true, [1, 'x', null, [1, { a: [] }]], []);
    check({ type: 'string', minLength: 2, maxLength: 3 }, ['ab', 'a"c', '日本語'], ['a', 'abcd', 1]);
    check({ type: ['string', 'null'], maxLength: 3 }, ['abc', null], ['abcd', 1]);
    check({ enum: ['a"b', 1, null, { x: [1] }] }, ['a"b', 1, null, { x: [1] }], ['a', 2, { x: [] }]);
    check({ type: 'string', enum: ['a', 1] }, ['a'], [1]);
    check(
      { type: 'array', items: { type: 'integer' }, minItems: 1, maxItems: 3 },
      [[1], [1, 2, 3]],
      [[], [1, 2, 3, 4], ['a']],
    );
    check(
      { type: 'array', prefixItems: [{ type: 'string' }, { type: 'number' }], items: false },
      [[], ['a'], ['a', 1.5]],
      [[1], ['a', 1, 2]],
    );
    check(
      { type: 'array', prefixItems: [{ type: 'string' }], items: { type: 'null' }, minItems: 2 },
      [
        ['a', null],
        ['a', null, null],
      ],
      [['a'], []],
    );
    const person = {
      type: 'object',
      properties: { a: { type: 'string' }, b: { type: 'null' }, c: {} },
      required: ['b'],
      additionalProperties: false,
    };
    check(
      person,
      [{ b: null }, { a: 'x', b: null }, { a: 'x', b: null, c: [1] }, { b: null, c: 1 }],
      [{}, { a: 'x' }, { b: null, d: 1 }, { a: 1, b: null }],
    );
    check({ type: 'object', additionalProperties: { type: 'boolean' } }, [{}, { x: true, y: false }], [{ x: 1 }]);
    check({ type: 'object', required: ['x'] }, [{ x: 1 }], [{}]);
    check(
      { type: 'object', patternProperties: { '^x-': { type: 'integer' } }, additionalProperties: false },
      [{}, { 'x-a': 1 }],
      [{ a: 1 }, { 'x-a': 'b' }],
    );
    check(
      { type: 'object', propertyNames: { enum: ['a', 'b'] }, additionalProperties: { type: 'integer' } },
      [{ a: 1 }, { b: 2 }],
      [{ c: 1 }],
    );
    check({ type: 'string', nullable: true }, ['a', null], [1]);
    check({ type: 'string', pattern: '^[A-Z]{2}\\d+$' }, ['AB1'], ['A1', 'xAB1', 'AB1x']);
    check({ type: 'string', pattern: 'b"\\n' }, ['ab"\nc'], ['b']);
    check({ type: 'string', pattern: '^[a-z]*$', minLength: 1, maxLength: 3 }, ['abc'], ['', 'abcd']);
  });

  it('have the white space of compact and of indented JSON, and none behind the value', () => {
    const value = { a: [1, { b: null }], c: {}, d: [] };
    const texts = [JSON.stringify(value), JSON.stringify(value, null, 2), JSON.stringify(value, null, 4)];
    const oneLine = '{"a": [1, {"b": null}], "c": {}, "d": []}';
    const properties = { a: { type: 'array' }, c: { type: 'object' }, d: { type: 'array', items: {} } };
    const named = { type: 'object', properties, required: ['a', 'c', 'd'] };
    for (const schema of [true, named]) {
      const grammar = matcher(schema);
      for (const text of [...texts, oneLine, ` ${oneLine}`, `\n\n${oneLine}`])
        expect(grammar.matches(text), text).to.equal(true);
      for (const text of [`${oneLine} `, `${oneLine}\n`, `   ${oneLine}`, `\n\n\n${oneLine}`])
        expect(grammar.matches(text), text).to.equal(false);
    }
    const list = matcher({ type: 'array', items: { type: 'integer' } });
    for (const gap of ['', ' ', '\n', `\n${' '.repeat(20)}`, '\n\t'])
      expect(list.matches(`[${gap}1,${gap}2${gap}]`), gap).to.equal(true);
    for (const gap of ['  ', '\t', '\n\n', `\n${' '.repeat(21)}`])
      for (const text of [`[${gap}1]`, `[1,${gap}2]`, `[1${gap}]`]) expect(list.matches(text), text).to.equal(false);
    const compact = new GbnfMatcher(jsonSchemaGrammar(true, { jsonIndent: 0 }));
    expect([...texts, oneLine].map((text) => compact.matches(text))).to.deep.equal([true, false, false, true]);
    const two = new GbnfMatcher(
      structuralTagGrammar({ format: { type: 'json_schema', json_schema: {} } }, { jsonIndent: 6 }),
    );
    expect(texts.map((text) => two.matches(text))).to.deep.equal([true, true, false]);
  });

  it('combine schemas as JSON Schema does', () => {
    const base = { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] };
    check(
      { allOf: [base, { properties: { b: { type: 'integer' } }, required: ['b'] }] },
      [{ a: 'x', b: 1 }],
      [{ a: 'x' }, { b: 1 }],
    );
    check(
      {
        allOf: [
          { type: 'number', minimum: 3 },
          { type: 'integer', maximum: 5 },
        ],
      },
      [3, 4, 5],
      [2, 6, 3.5],
    );
    check(
      { ...base, anyOf: [{ required: ['b'], properties: { b: { const: 1 } } }, { properties: { a: { const: 'x' } } }] },
      [{ a: 'y', b: 1 }, { a: 'x' }],
      [{ a: 'y' }],
    );
    check({ oneOf: [{ type: 'string' }, { type: 'null' }] }, ['a', null], [1]);
    const shapes = [
      { type: 'object', properties: { kind: { const: 'circle' }, r: { type: 'number' } }, required: ['kind', 'r'] },
      { type: 'object', properties: { kind: { const: 'square' }, a: { type: 'number' } }, required: ['kind', 'a'] },
    ];
    check(
      { oneOf: shapes },
      [
        { kind: 'circle', r: 1 },
        { kind: 'square', a: 2 },
      ],
      [{ kind: 'circle', a: 1 }, { kind: 'other' }],
    );
    check({ type: 'string', enum: ['a', 'b'], not: { const: 'a' } }, ['b'], ['a']);
    check({ $ref: '#/$defs/n', maximum: 5, $defs: { n: { type: 'integer', minimum: 1 } } }, [1, 5], [0, 6]);
    const tree = {
      type: 'object',
      properties: { v: { type: 'integer' }, next: { anyOf: [{ $ref: '#' }, { type: 'null' }] } },
      required: ['v', 'next'],
      additionalProperties: false,
    };
    check(
      tree,
      [
        { v: 1, next: null },
        { v: 1, next: { v: 2, next: null } },
      ],
      [{ v: 1 }, { v: 1, next: { v: 2 } }],
    );
    check({ $defs: { 'a/b': { const: 1 } }, $ref: '#/$defs/a~1b' }, [1], [2]);
    check(
      { type: 'object', properties: { a: { type: 'string' } }, unevaluatedProperties: false },
      [{ a: 'x' }, {}],
      [{ b: 1 }],
    );
  });

  it('keep to the formats of strings', () => {
    check({ type: 'string', format: 'date' }, ['2024-02-29', '2026-12-31'], ['2026-02-29', '2026-13-01', '2026-04-31']);
    check(
      { type: 'string', format: 'date-time' },
      ['2026-01-01T10:20:30Z', '2026-01-01T10:20:30.5+02:00'],
      ['2026-01-01', '2026-01-01T25:00:00Z'],
    );
    check({ type: 'string', format: 'ipv4' }, ['127.0.0.1', '255.255.255.255'], ['256.0.0.1', '1.2.3', '01.2.3.4']);
    check({ type: 'string', format: 'ipv6' }, ['::1', '1:2:3:4:5:6:7:8', 'fe80::1:2'], ['1:2', ':::', '1::2::3']);
    check({ type: 'string', format: 'email' }, ['a.b@example.org'], ['a@', '@b.c', 'a b@c.d']);
    check({ type: 'string', format: 'uuid' }, ['2eb8aa08-aa98-11ea-b4aa-73b441d16380'], ['2eb8aa08']);
    check({ type: 'string', format: 'duration' }, ['P1Y2M3DT4H5M6S', 'PT1M', 'P2W'], ['P', 'PT', 'P1H', 'P1Y2W']);
    check(
      { type: 'string', format: 'uri' },
      ['https://example.org/a?b=c', 'ftp://x.y:21/'],
      ['example.org', 'http://a b'],
    );
  });

  it('bound numbers exactly', () => {
    const bound = fc.oneof(
      fc.integer({ min: -2000, max: 2000 }),
      fc.integer({ min: -99999, max: 99999 }).map((n) => n / 1000),
      fc.constant(null),
    );
    fc.assert(
      fc.property(
        bound,
        bound,
        fc.boolean(),
        fc.boolean(),
        fc.array(fc.integer({ min: -3_000_000, max: 3_000_000 }), { minLength: 20, maxLength: 20 }),
        (low, high, lowOpen, highOpen, samples) => {
          fc.pre(low !== null || high !== null);
          fc.pre(low === null || high === null || low < high);
          const schema = {
            ...(low === null ? {} : { [lowOpen ? 'exclusiveMinimum' : 'minimum']: low }),
            ...(high === null ? {} : { [highOpen ? 'exclusiveMaximum' : 'maximum']: high }),
          };
          const numbers = matcher({ type: 'number', ...schema });
          const ends = [low ?? 0, high ?? 0, (low ?? 0) + 0.001, (high ?? 0) - 0.001, (low ?? 0) + 1, (high ?? 0) - 1];
          for (const value of [
            ...samples.map((n) => n / 1000),
            ...samples.map((n) => Math.trunc(n / 100_000)),
            ...ends,
          ]) {
            const rounded = Number(value.toFixed(4));
            const inside =
              (low === null || (lowOpen ? rounded > low : rounded >= low)) &&
              (high === null || (highOpen ? rounded < high : rounded <= high));
            const text = rounded === 0 ? '0' : String(rounded);
            expect(numbers.matches(text), `${JSON.stringify(schema)} and ${text}`).to.equal(inside);
            if (/\.\d+$/.test(text))
              expect(numbers.matches(`${text}0`), `${JSON.stringify(schema)} and ${text}0`).to.equal(inside);
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it('bound whole numbers exactly', () => {
    const bound = fc.option(fc.integer({ min: -3000, max: 3000 }));
    fc.assert(
      fc.property(
        bound,
        bound,
        fc.array(fc.integer({ min: -4000, max: 4000 }), { minLength: 20, maxLength: 20 }),
        (low, high, samples) => {
          fc.pre(low === null || high === null || low <= high);
          const schema = {
            type: 'integer',
            ...(low === null ? {} : { minimum: low }),
            ...(high === null ? {} : { maximum: high }),
          };
          const grammar = matcher(schema);
          for (const value of [...samples, low ?? 0, high ?? 0, (low ?? 0) - 1, (high ?? 0) + 1]) {
            const inside = (low === null || value >= low) && (high === null || value <= high);
            expect(grammar.matches(String(value)), `${JSON.stringify(schema)} and ${value}`).to.equal(inside);
          }
        },
      ),
      { numRuns: 150 },
    );
    check({ type: 'integer', exclusiveMinimum: 9.5, exclusiveMaximum: 12 }, [10, 11], [9, 12]);
    check({ type: 'number', multipleOf: 0.01 }, [1.25, -3, 0.5], [1.255]);
    check({ type: 'integer', multipleOf: 7 }, [0, 7, -14, 2100], [1, 8, 20]);
  });

  it('are refused for what they could not keep to, with the place', () => {
    const cases: [unknown, string, string][] = [
      [{ type: 'array', uniqueItems: true }, 'unsupported', '#/uniqueItems'],
      [{ properties: { a: { items: { contains: {} } } } }, 'unsupported', '#/properties/a/items/contains'],
      [{ if: {}, else: {} }, 'unsupported', '#/if'],
      [{ type: 'string', format: 'iri' }, 'unsupported', '#/format'],
      [{ properties: { 'a/b': { type: 'string', pattern: '(?=x)' } } }, 'unsupported', '#/properties/a~1b/pattern'],
      [{ type: 'string', pattern: '^a|b$', maxLength: 4 }, 'unsupported', '#'],
      [{ oneOf: [{ type: 'string' }, { minLength: 2 }] }, 'unsupported', '#/oneOf'],
      [{ type: 'string', not: { minLength: 2 } }, 'unsupported', '#/not'],
      [{ type: 'object', minProperties: 2 }, 'unsupported', '#/minProperties'],
      [{ $ref: 'http://elsewhere/schema' }, 'unsupported', '#/$ref'],
      [{ allOf: [{ $ref: '#' }] }, 'unsupported', '#/allOf/0'],
      [{ typo: 1 }, 'unsupported', '#/typo'],
      [{ $ref: '#/$defs/none' }, 'invalid', '#/$ref'],
      [{ type: 'set' }, 'invalid', '#/type'],
      [{ enum: [] }, 'invalid', '#/enum'],
      [{ type: 'array', minItems: -1 }, 'invalid', '#/minItems'],
      [{ type: 'integer', minimum: 5, maximum: 4 }, 'invalid', '#'],
      [{ type: 'object', properties: { a: false }, required: ['a'] }, 'invalid', '#'],
      [false, 'invalid', '#'],
      [7, 'invalid', '#'],
    ];
    for (const [schema, kind, path] of cases) {
      expect(
        refusal(() => jsonSchemaGrammar(schema)),
        JSON.stringify(schema),
      ).to.include({ kind, path });
    }
  });

  it('stay small for large schemas, and are refused where they would not', () => {
    const wide = {
      type: 'object',
      properties: Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`p${i}`, { type: 'string' }])),
    };
    expect(jsonSchemaGrammar(wide).length).to.be.lessThan(200_000);
    const list = (depth: number): unknown =>
      depth === 0 ? {} : { anyOf: [list(depth - 1), { type: 'string', const: String(depth) }] };
    const product = {
      allOf: Array.from({ length: 12 }, () => ({
        anyOf: [list(5), { type: 'string', enum: ['a', 'b', 'c', 'd'] }, { type: 'integer' }],
      })),
    };
    const exponential = {
      allOf: Array.from({ length: 20 }, (_, i) => ({ anyOf: [{ minimum: i }, { maximum: -i }, { minimum: i + 0.5 }] })),
    };
    for (const schema of [product, exponential]) {
      try {
        expect(jsonSchemaGrammar(schema).length).to.be.lessThan(4_000_000);
      } catch (error) {
        expect(error).to.include({ kind: 'unsupported' });
      }
    }
  });

  it('end, whatever is sent', () => {
    const ranges = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ type: 'integer', minimum: i * 10, maximum: i * 10 + 1 }));
    const hostile: Readonly<Record<string, unknown>> = {
      comparisons: { allOf: Array.from({ length: 2000 }, () => ({ anyOf: ranges(400) })) },
      alternatives: { oneOf: Array.from({ length: 5000 }, (_, i) => ({ const: i })) },
      properties: {
        type: 'object',
        properties: Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`p${i}`, {}])),
      },
      patterns: {
        type: 'object',
        patternProperties: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`^p${i}`, {}])),
        properties: { a: {} },
      },
      depth: JSON.parse(`${'{"items":'.repeat(3000)}{}${'}'.repeat(3000)}`),
      repetition: { type: 'string', pattern: '((a{1,1000}){1,1000}){1,1000}' },
      references: {
        $defs: {
          a: { anyOf: [{ $ref: '#/$defs/b' }, { $ref: '#/$defs/b' }] },
          b: { anyOf: [{ $ref: '#/$defs/a' }, { $ref: '#/$defs/a' }] },
        },
        $ref: '#/$defs/a',
        type: 'object',
      },
    };
    for (const [name, schema] of Object.entries(hostile)) {
      if (name === 'repetition') expect(jsonSchemaGrammar(schema)).to.be.a('string');
      else expect(refusal(() => jsonSchemaGrammar(schema)).kind, name).to.equal('unsupported');
    }
    const zones = Array.from({ length: 1000 }, (_, i) => `zone-${i}`);
    check({ type: 'string', enum: zones }, ['zone-0', 'zone-999'], ['zone-1000']);
  });
});
