type Json = Readonly<Record<string, unknown>>;

/** Makes JSON Schemas as tools have them. */
export interface RandomSchemas {
  /** The schema of some arguments. */
  object(): Json;
}

const names = ['city', 'a', 'b_2', 'from-date', 'x.y', 'Größe', 'null', 'item', 'note'];
const words = ['a', 'null', 'true', '42', 'two words', "it's", 'say "x"', '[1]', '', 'a<b', '日本'];

/** The same schemas for the same numbers. */
export function randomSchemas(random: () => number): RandomSchemas {
  const below = (count: number): number => Math.floor(random() * count);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  const some = <T>(list: readonly T[], most: number): T[] => {
    const out = new Set<T>();
    for (let count = below(most) + 1; count > 0; count--) out.add(pick(list));
    return [...out];
  };
  const string = (): Json =>
    pick<() => Json>([
      () => ({ type: 'string' }),
      () => ({ type: 'string' }),
      () => ({ type: 'string', enum: some(words, 4) }),
      () => ({ type: 'string', minLength: 2, maxLength: 5 }),
      () => ({ type: 'string', minLength: 1 }),
      () => ({ type: 'string', minLength: 2, maxLength: 2 }),
      () => ({ type: 'string', pattern: pick(['^[A-Z]{2}\\d+$', '^a|b$', '"\\s', "^[^x]'?$"]) }),
      () => ({ const: pick(words) }),
    ])();
  const leaf = (): Json =>
    pick<() => Json>([
      string,
      string,
      () => ({ type: 'integer' }),
      () => ({ type: 'integer', minimum: 3, maximum: 40 }),
      () => ({ type: 'number' }),
      () => ({ type: 'number', exclusiveMinimum: 0.5 }),
      () => ({ type: 'boolean' }),
      () => ({ type: 'null' }),
      () => ({ enum: [1, 'one', null, true, '1', { k: [] }] }),
      () => ({}),
    ])();
  const value = (depth: number): Json => {
    if (depth <= 0) return leaf();
    return pick<() => Json>([
      leaf,
      leaf,
      leaf,
      () => ({ type: ['string', 'null'] }),
      () => ({ type: pick(['integer', 'boolean', 'number', 'array']), nullable: false }),
      () => ({ anyOf: [value(depth - 1), { type: 'null' }] }),
      () => ({ anyOf: [string(), { type: pick(['integer', 'number', 'boolean', 'object', 'array']) }] }),
      () => ({ type: 'array', items: value(depth - 1), ...pick<Json>([{}, { minItems: 1 }, { maxItems: 2 }]) }),
      () => ({ type: 'array', prefixItems: [value(depth - 1), leaf()], minItems: 1 }),
      () => object(depth - 1),
      () => object(depth - 1),
      () => ({ type: 'object', additionalProperties: leaf() }),
      () => ({ $ref: '#/$defs/node' }),
    ])();
  };
  const object = (depth: number): Json => {
    const keys = some(names, 4);
    return {
      type: 'object',
      properties: Object.fromEntries(keys.map((key) => [key, value(depth)])),
      required: keys.filter(() => random() < 0.6),
      additionalProperties: false,
    };
  };
  const node: Json = {
    type: 'object',
    properties: { v: { type: 'integer' }, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } },
    required: ['v'],
  };
  return { object: () => ({ ...object(2), $defs: { node } }) };
}
