import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { jsonSchemaGrammar } from '../constraints.ts';
import { GrammarError } from '../error.ts';
import { GbnfMatcher } from '../testing/matcher.ts';

interface Group {
  readonly description: string;
  readonly schema: unknown;
  readonly tests: readonly { readonly description: string; readonly data: unknown; readonly valid: boolean }[];
}

const file = new URL('../../../tests/fixtures/json-schema-test-suite/draft2020-12.json', import.meta.url);
const suite = JSON.parse(readFileSync(file, 'utf8')) as Readonly<Record<string, readonly Group[]>>;

/** What a schema may not mean to be about: without a `type`, its keywords choose the types that are written. */
function isOfImpliedType({ schema }: Group, data: unknown): boolean {
  if (typeof schema !== 'object' || schema === null || 'type' in schema) return true;
  const keywords = new Set(Object.keys(schema));
  const about = (names: readonly string[]): boolean => names.some((name) => keywords.has(name));
  const implied = [
    ...(about([
      'properties',
      'required',
      'additionalProperties',
      'patternProperties',
      'propertyNames',
      'minProperties',
      'maxProperties',
      'unevaluatedProperties',
    ])
      ? ['object']
      : []),
    ...(about(['items', 'prefixItems', 'minItems', 'maxItems', 'unevaluatedItems', 'uniqueItems']) ? ['array'] : []),
    ...(about(['minLength', 'maxLength', 'pattern', 'format']) ? ['string'] : []),
    ...(about(['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']) ? ['number'] : []),
  ];
  const type = data === null ? 'null' : Array.isArray(data) ? 'array' : typeof data;
  return implied.length === 0 || implied.includes(type);
}

/** Where what a schema leaves open is narrowed: properties that it does not name, another order, rarer forms of formats. */
const narrowed: Readonly<Record<string, number>> = {
  additionalProperties: 3,
  allOf: 2,
  anyOf: 1,
  const: 1,
  // Formats bind here, though they need not.
  format: 10,
  not: 1,
  properties: 3,
  ref: 2,
  unevaluatedItems: 1,
  unevaluatedProperties: 8,
  vocabulary: 1,
  'optional/bignum': 2,
  'optional/format/date-time': 4,
  'optional/format/duration': 1,
  'optional/format/email': 5,
  'optional/format/hostname': 17,
  'optional/format/ipv6': 4,
  'optional/format/time': 7,
  'optional/format/uri': 9,
};

describe('JSON Schema Test Suite, draft 2020-12', () => {
  for (const [name, groups] of Object.entries(suite)) {
    it(`${name}: what is written is valid, what is refused is named`, () => {
      const missed: string[] = [];
      for (const group of groups) {
        const grammar = compile(group);
        for (const test of grammar === null ? [] : group.tests) {
          const taken = grammar?.matches(JSON.stringify(test.data)) === true;
          const told = `${group.description}: ${test.description}`;
          expect(taken && !test.valid, `${told} is not valid and was taken`).to.equal(false);
          if (!taken && test.valid && isOfImpliedType(group, test.data)) missed.push(told);
        }
      }
      expect(missed, missed.join('\n')).to.have.length(narrowed[name] ?? 0);
    });
  }

  it('compiles what it is about', () => {
    const all = Object.values(suite).flat();
    const compiled = all.filter((group) => compile(group) !== null);
    expect(compiled.length / all.length).to.be.greaterThan(0.6);
  });
});

/** null: the schema is refused. Where it allows something, only because something in it is not supported. */
function compile(group: Group): GbnfMatcher | null {
  try {
    return new GbnfMatcher(jsonSchemaGrammar(group.schema));
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error;
    expect(error.path, error.message).to.match(/^#/);
    const empty = group.tests.every(({ valid }) => !valid);
    if (!empty) expect(error.kind, `${group.description}: ${error.message}`).to.equal('unsupported');
    return null;
  }
}
