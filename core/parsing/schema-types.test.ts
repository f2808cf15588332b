import { expect } from 'chai';
import { pythonToJson } from './python-literal.ts';
import { convertText, convertUntyped, itemsSchema, parameterTypes, propertySchema, typesOf } from './schema-types.ts';
import { weatherTools } from './testing/tools.ts';

describe('types of parameters', () => {
  it('reads types, references, unions, enums and constants', () => {
    const types = (schema: unknown): string[] => [
      ...parameterTypes(
        { name: 'f', parameters: { properties: { p: schema }, $defs: { n: { type: 'number' } } } },
        'p',
      ),
    ];
    expect(types({ type: ['string', 'null'] })).to.deep.equal(['string', 'null']);
    expect(types({ $ref: '#/$defs/n' })).to.deep.equal(['number']);
    expect(types({ anyOf: [{ $ref: '#/$defs/n' }, { type: 'null' }] })).to.deep.equal(['number', 'null']);
    expect(types({ type: 'integer', nullable: true })).to.deep.equal(['integer', 'null']);
    expect(types({ enum: ['a', 1] })).to.deep.equal(['string', 'number']);
    expect(types({ const: true })).to.deep.equal(['boolean']);
    expect(types({ properties: {} })).to.deep.equal(['object']);
    expect(types({})).to.deep.equal([]);
    expect(types({ $ref: '#/properties/p' })).to.deep.equal([]);
    expect(types({ type: 'nonsense' })).to.deep.equal([]);
    expect([...parameterTypes(weatherTools[0], 'toString')]).to.deep.equal([]);
    expect([...parameterTypes(undefined, 'p')]).to.deep.equal([]);
  });

  it('finds members behind references and combinations, and ends on schemas that hold themselves', () => {
    const root = {
      $defs: {
        place: { properties: { lat: { type: 'number' } } },
        named: { properties: { lat: { type: 'string' }, name: {} }, additionalProperties: { type: 'null' } },
        list: { type: 'array', items: { type: 'integer' } },
        loop: { anyOf: Array.from({ length: 20 }, () => ({ $ref: '#/$defs/loop' })) },
      },
    };
    const of = (schema: unknown, key: string): string[] => [...typesOf(propertySchema(schema, root, key), root)];
    const maybe = { anyOf: [{ $ref: '#/$defs/place' }, { type: 'null' }] };
    expect(of(maybe, 'lat')).to.deep.equal(['number']);
    const both = { anyOf: [maybe, { $ref: '#/$defs/named' }] };
    expect(of(both, 'lat')).to.deep.equal(['number', 'string']);
    expect(propertySchema(both, root, 'lat')).to.equal(propertySchema(both, root, 'lat'));
    expect(of(both, 'other')).to.deep.equal(['null']);
    expect(itemsSchema({ anyOf: [{ $ref: '#/$defs/list' }] }, root)).to.deep.equal({ type: 'integer' });
    expect(of({ $ref: '#/$defs/loop' }, 'x')).to.deep.equal([]);
    expect([...typesOf({ $ref: '#/$defs/loop' }, root)]).to.deep.equal([]);
    expect([...typesOf({ anyOf: [{ enum: ['a'] }, { type: 'integer' }] }, root)]).to.have.members([
      'string',
      'integer',
    ]);
  });

  it('converts text by the types, strings last', () => {
    expect(convertText(' 3 ', new Set(['integer']))).to.equal('3');
    expect(convertText('3x', new Set(['integer']))).to.equal('"3x"');
    expect(convertText('None', new Set(['null', 'string']))).to.equal('null');
    expect(convertText('TRUE', new Set(['boolean']))).to.equal('true');
    expect(convertText('42', new Set(['string', 'integer']))).to.equal('42');
    expect(convertText("{'a': True}", new Set(['object']))).to.equal('{"a":true}');
    expect(convertText('[1, 2]', new Set(['array']))).to.equal('[1, 2]');
    expect(convertText('NaN', new Set(['number']))).to.equal('"NaN"');
    expect(convertText(' x ', new Set(['string']))).to.equal('" x "');
  });

  it('takes untyped text for the JSON that it is', () => {
    expect(convertUntyped('[1]')).to.equal('[1]');
    expect(convertUntyped('False')).to.equal('false');
    expect(convertUntyped('None')).to.equal('null');
    expect(convertUntyped('Paris')).to.equal('"Paris"');
  });
});

describe('Python literals', () => {
  const literals = [
    ['1_000', '1000'],
    ['.5', '0.5'],
    ['1.', '1'],
    ['-1e3', '-1e3'],
    ['0x1f', '31'],
    ['+2', '2'],
    ["'a\\x41\\U0001F600\\q'", '"aA😀\\\\q"'],
    ['"""two\n"lines" """', '"two\\n\\"lines\\" "'],
    ['()', '[]'],
    ['(1,)', '[1]'],
    ["{'a': [1, {}], 1: None,}", '{"a":[1,{}],"1":null}'],
    ["''", '""'],
  ] as const;
  for (const [literal, json] of literals) {
    it(`${literal} is ${json}`, () => expect(pythonToJson(literal)).to.equal(json));
  }

  it('refuses what is none', () => {
    for (const text of ['', 'x', '[1', '{1}', "'a", '1 2', 'f()', '[1 2]', "'\\", '['.repeat(100)]) {
      expect(pythonToJson(text), text).to.equal(null);
    }
  });
});
