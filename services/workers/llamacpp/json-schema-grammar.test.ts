import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { jsonSchemaGrammar, quote } from './json-schema-grammar.ts';

function refusal(schema: unknown): StatorError {
  try {
    jsonSchemaGrammar(typeof schema === 'string' ? schema : JSON.stringify(schema));
  } catch (error) {
    if (error instanceof StatorError) return error;
    throw error;
  }
  return expect.fail(`${JSON.stringify(schema)} was taken`);
}

/** Every rule that is used must be defined, and none twice. */
function checkRules(grammar: string): void {
  const defined = grammar.split('\n').map((line) => line.slice(0, line.indexOf(' ')));
  expect(new Set(defined).size).to.equal(defined.length);
  const bodies = grammar.split('\n').map((line) => line.slice(line.indexOf('::=') + 3));
  for (const body of bodies) {
    const bare = body.replaceAll(/"(?:\\.|[^"\\])*"/g, ' ').replaceAll(/\[(?:\\.|[^\]\\])*\]/g, ' ');
    for (const name of bare.match(/[a-z][a-z0-9-]*/g) ?? []) expect(defined, body).to.include(name);
  }
}

describe('llamacpp worker: JSON Schema to GBNF', () => {
  it('makes whole grammars', () => {
    const schemas: unknown[] = [
      true,
      {},
      { type: 'string', minLength: 2, maxLength: 5 },
      { type: 'string', format: 'date-time' },
      { type: ['string', 'null'], maxLength: 3 },
      { enum: ['a"b', 1, null, { x: [1] }] },
      { const: 'line\nbreak' },
      { type: 'array', items: { type: 'integer' }, minItems: 1, maxItems: 4 },
      { type: 'array', prefixItems: [{ type: 'string' }, { type: 'number' }] },
      {
        type: 'object',
        properties: { a: { type: 'string' }, b: { type: 'null' } },
        required: ['b'],
        additionalProperties: false,
      },
      { type: 'object', additionalProperties: { type: 'boolean' } },
      { type: 'object', required: ['x'] },
      {
        anyOf: [{ type: 'string' }, { $ref: '#/$defs/tree' }],
        $defs: {
          tree: { type: 'object', properties: { children: { type: 'array', items: { $ref: '#/$defs/tree' } } } },
        },
      },
      {
        allOf: [
          { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] },
          { properties: { b: { type: 'string' } } },
        ],
      },
    ];
    for (const schema of schemas) checkRules(jsonSchemaGrammar(JSON.stringify(schema)));
  });

  it('refuses what it could not keep to, by name', () => {
    const cases: [unknown, string, string][] = [
      ['{', 'invalid_argument', 'not JSON'],
      [{ type: 'integer', minimum: 3 }, 'unsupported', 'minimum'],
      [{ type: 'string', pattern: 'a+' }, 'unsupported', 'pattern'],
      [{ type: 'string', format: 'hostname' }, 'unsupported', 'hostname'],
      [{ type: 'object', patternProperties: {} }, 'unsupported', 'patternProperties'],
      [{ type: 'object', properties: { a: { not: {} } } }, 'unsupported', 'properties.a'],
      [{ type: 'set' }, 'invalid_argument', 'set'],
      [{ $ref: 'http://elsewhere/schema' }, 'unsupported', 'leaves the schema'],
      [{ $ref: '#/$defs/none' }, 'invalid_argument', 'points to nothing'],
      [{ enum: [] }, 'invalid_argument', 'at least one'],
      [{ type: 'array', minItems: -1 }, 'invalid_argument', 'minItems'],
      [false, 'unsupported', 'object or true'],
    ];
    for (const [schema, code, part] of cases) {
      const error = refusal(schema);
      expect(error.code, JSON.stringify(schema)).to.equal(code);
      expect(error.message).to.include(part);
    }
  });

  it('quotes text', () => {
    expect(quote('a"b\\c\nd')).to.equal('"a\\"b\\\\c\\nd"');
  });
});
