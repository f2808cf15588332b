import { StatorError } from '#lib/errors/errors.ts';

type Schema = Readonly<Record<string, unknown>>;

/** Rules that every JSON grammar shares. Whitespace is bounded, because a model may otherwise emit it for ever. */
export const jsonRules = [
  'space ::= "" | " " | "\\n"{1,2} [ \\t]{0,20}',
  'char ::= [^"\\\\\\x7F\\x00-\\x1F] | [\\\\] (["\\\\bfnrt] | "u" [0-9a-fA-F]{4})',
  'string ::= "\\"" char* "\\"" space',
  'integral ::= [0] | [1-9] [0-9]{0,15}',
  'integer ::= ("-"? integral) space',
  'number ::= ("-"? integral) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,15})? space',
  'boolean ::= ("true" | "false") space',
  'null ::= "null" space',
  'value ::= object | array | string | number | boolean | null',
  'member ::= string ":" space value',
  'object ::= "{" space (member ("," space member)*)? "}" space',
  'array ::= "[" space (value ("," space value)*)? "]" space',
] as const;

const formats: Readonly<Record<string, string>> = {
  date: '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [1-2] [0-9] | "3" [0-1])',
  time: '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{3})? ("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])',
  uuid: '[0-9a-fA-F]{8} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{4} "-" [0-9a-fA-F]{12}',
};
const dateTime = `${formats['date']} "T" ${formats['time']}`;

const annotations = new Set([
  'title',
  'description',
  'default',
  'examples',
  'example',
  '$schema',
  '$id',
  '$comment',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$defs',
  'definitions',
]);
const keywords: Readonly<Record<string, ReadonlySet<string>>> = {
  object: new Set(['type', 'properties', 'required', 'additionalProperties']),
  array: new Set(['type', 'items', 'prefixItems', 'minItems', 'maxItems']),
  string: new Set(['type', 'minLength', 'maxLength', 'format']),
};
const maxRepetitions = 2000;
const maxRules = 5000;

/**
 * GBNF whose every string is valid under the JSON Schema `text`. What JSON Schema leaves open may be narrowed (properties
 * come in the schema's order, unnamed ones do not appear); a keyword that could not be kept is refused, never ignored.
 */
export function jsonSchemaGrammar(text: string): string {
  const field = 'guided.json_schema';
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (cause) {
    throw StatorError.invalid(field, 'The JSON Schema is not JSON.', { cause });
  }
  const converter = new Converter(root, field);
  const body = converter.convert(root, field);
  return [`root ::= space ${body}`, ...converter.rules, ...jsonRules].join('\n');
}

class Converter {
  readonly rules: string[] = [];
  readonly #root: unknown;
  readonly #field: string;
  readonly #references = new Map<string, string>();

  constructor(root: unknown, field: string) {
    this.#root = root;
    this.#field = field;
  }

  /** An expression for one schema; `at` names it in errors. */
  convert(schema: unknown, at: string): string {
    if (schema === true) return 'value';
    if (!isSchema(schema)) throw StatorError.unsupported(at, `The schema at ${at} must be an object or true.`);
    if (typeof schema['$ref'] === 'string') return this.#reference(schema['$ref'], at);
    if ('const' in schema) return literal(schema['const']);
    if ('enum' in schema) return this.#enumeration(schema['enum'], at);
    for (const key of ['anyOf', 'oneOf'] as const) {
      if (key in schema) return this.#alternatives(schema[key], `${at}.${key}`);
    }
    if ('allOf' in schema) return this.#all(schema, at);
    return this.#typed(schema, at);
  }

  #typed(schema: Schema, at: string): string {
    const { type } = schema;
    if (Array.isArray(type)) return this.#anyType(schema, type.map(String), at);
    const implied =
      'properties' in schema ? 'object' : 'items' in schema || 'prefixItems' in schema ? 'array' : undefined;
    switch (type ?? implied) {
      case 'object':
        return this.#object(this.#known(schema, 'object', at), at);
      case 'array':
        return this.#array(this.#known(schema, 'array', at), at);
      case 'string':
        return this.#string(this.#known(schema, 'string', at), at);
      case 'number':
      case 'integer':
      case 'boolean':
      case 'null':
        this.#known(schema, String(type), at);
        return String(type);
      case undefined:
        this.#known(schema, 'any', at);
        return 'value';
      default:
        throw StatorError.invalid(at, `Unknown type ${JSON.stringify(type)} at ${at}.`);
    }
  }

  /** Each type takes the keywords that are about it; one that is about none of them is refused. */
  #anyType(schema: Schema, types: readonly string[], at: string): string {
    const about = (key: string, type: string): boolean => annotations.has(key) || keywordsOf(type).has(key);
    const stray = Object.keys(schema).find((key) => !types.some((type) => about(key, type)));
    if (stray !== undefined) throw this.#refused(stray, at);
    const alternatives = types.map((type) => {
      const own = Object.entries(schema).filter(([key]) => about(key, type));
      return this.#typed({ ...Object.fromEntries(own), type }, at);
    });
    return group(alternatives);
  }

  #known(schema: Schema, type: string, at: string): Schema {
    const stray = Object.keys(schema).find((key) => !annotations.has(key) && !keywordsOf(type).has(key));
    if (stray !== undefined) throw this.#refused(stray, at);
    return schema;
  }

  #refused(keyword: string, at: string): StatorError {
    return StatorError.unsupported(this.#field, `The keyword ${keyword} at ${at} is not supported.`);
  }

  #object(schema: Schema, at: string): string {
    const properties = isSchema(schema['properties']) ? Object.entries(schema['properties']) : [];
    const required = new Set(Array.isArray(schema['required']) ? schema['required'] : []);
    const missing = [...required].find((name) => !properties.some(([key]) => key === name));
    const more = schema['additionalProperties'];
    if (missing !== undefined && more === false)
      throw StatorError.invalid(at, `${String(missing)} at ${at} is required but not a property.`);
    const all = [
      ...properties,
      ...[...required]
        .filter((name) => !properties.some(([key]) => key === name))
        .map((name) => [String(name), isSchema(more) ? more : true] as const),
    ];
    if (all.length === 0) return this.#openObject(more, at);
    const members = all.map(
      ([key, value]) => `${literal(key)} ":" space ${this.convert(value, `${at}.properties.${key}`)}`,
    );
    // Two rules for each property: one while nothing stands before it, one that needs a comma.
    let first = '""';
    let next = '""';
    for (let index = members.length - 1; index >= 0; index--) {
      const member = this.#rule('p', members[index] ?? '');
      const optional = !required.has(all[index]?.[0] ?? '');
      const started = next;
      next = this.#rule(
        'n',
        optional ? `"," space ${member} ${started} | ${started}` : `"," space ${member} ${started}`,
      );
      first = this.#rule('f', optional ? `${member} ${started} | ${first}` : `${member} ${started}`);
    }
    return `"{" space ${first} "}" space`;
  }

  #openObject(more: unknown, at: string): string {
    if (more === false) return '"{" space "}" space';
    if (more === undefined || more === true) return 'object';
    const member = this.#rule('m', `string ":" space ${this.convert(more, `${at}.additionalProperties`)}`);
    return `"{" space (${member} ("," space ${member})*)? "}" space`;
  }

  #array(schema: Schema, at: string): string {
    const prefix = schema['prefixItems'];
    if (Array.isArray(prefix)) {
      const items = prefix.map((item, index) => this.convert(item, `${at}.prefixItems[${index}]`));
      return `"[" space ${items.join(' "," space ')} "]" space`;
    }
    const item = this.#rule('i', this.convert(schema['items'] ?? true, `${at}.items`));
    const minimum = count(schema['minItems'], 0, `${at}.minItems`);
    const maximum = count(schema['maxItems'], undefined, `${at}.maxItems`);
    if (maximum === 0) return '"[" space "]" space';
    const rest = `("," space ${item}){${Math.max(0, minimum - 1)},${maximum === undefined ? '' : maximum - 1}}`;
    return minimum > 0 ? `"[" space ${item} ${rest} "]" space` : `"[" space (${item} ${rest})? "]" space`;
  }

  #string(schema: Schema, at: string): string {
    const { format } = schema;
    if (typeof format === 'string') {
      const body = format === 'date-time' ? dateTime : formats[format];
      if (body === undefined)
        throw StatorError.unsupported(this.#field, `The format ${format} at ${at} is not supported.`);
      return `"\\"" ${body} "\\"" space`;
    }
    const minimum = count(schema['minLength'], 0, `${at}.minLength`);
    const maximum = count(schema['maxLength'], undefined, `${at}.maxLength`);
    if (minimum === 0 && maximum === undefined) return 'string';
    return `"\\"" char{${minimum},${maximum ?? ''}} "\\"" space`;
  }

  #enumeration(values: unknown, at: string): string {
    if (!Array.isArray(values) || values.length === 0)
      throw StatorError.invalid(at, `The enum at ${at} must be a list with at least one value.`);
    return group(values.map(literal));
  }

  #alternatives(schemas: unknown, at: string): string {
    if (!Array.isArray(schemas) || schemas.length === 0)
      throw StatorError.invalid(at, `${at} must be a list with at least one schema.`);
    return group(schemas.map((schema, index) => this.convert(schema, `${at}[${index}]`)));
  }

  /** Objects are merged; anything else would need an intersection of grammars. */
  #all(schema: Schema, at: string): string {
    const { allOf, ...own } = schema;
    if (!Array.isArray(allOf)) throw StatorError.invalid(at, `${at}.allOf must be a list.`);
    const parts = [own, ...allOf].map((part) =>
      isSchema(part) && typeof part['$ref'] === 'string' ? this.#resolve(part['$ref'], at) : part,
    );
    if (allOf.length === 1 && Object.keys(own).every((key) => annotations.has(key))) return this.convert(parts[1], at);
    const merged: Record<string, unknown> = { type: 'object', properties: {}, required: [] };
    for (const part of parts) {
      if (!isSchema(part)) throw StatorError.unsupported(this.#field, `allOf at ${at} can only combine objects.`);
      this.#known(part, 'object', at);
      merged['properties'] = { ...Object(merged['properties']), ...Object(part['properties']) };
      merged['required'] = [...new Set([...list(merged['required']), ...list(part['required'])])];
      if (part['additionalProperties'] === false) merged['additionalProperties'] = false;
    }
    return this.convert(merged, at);
  }

  #reference(pointer: string, at: string): string {
    const known = this.#references.get(pointer);
    if (known !== undefined) return known;
    const name = `r${this.#references.size}`;
    // Registered before its body is converted, so that a schema may refer to itself.
    this.#references.set(pointer, name);
    this.rules.push(`${name} ::= ${this.convert(this.#resolve(pointer, at), pointer)}`);
    return name;
  }

  #resolve(pointer: string, at: string): unknown {
    if (!pointer.startsWith('#'))
      throw StatorError.unsupported(this.#field, `$ref ${pointer} at ${at} leaves the schema.`);
    let target: unknown = this.#root;
    for (const part of pointer.split('/').slice(1)) {
      const key = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
      target = isSchema(target) && Object.hasOwn(target, key) ? target[key] : undefined;
    }
    if (target === undefined) throw StatorError.invalid(this.#field, `$ref ${pointer} at ${at} points to nothing.`);
    return target;
  }

  #rule(prefix: string, body: string): string {
    if (this.rules.length >= maxRules) throw StatorError.invalid(this.#field, 'The JSON Schema is too large.');
    const name = `${prefix}${this.rules.length}x`;
    this.rules.push(`${name} ::= ${body}`);
    return name;
  }
}

const noKeywords: ReadonlySet<string> = new Set(['type']);

function keywordsOf(type: string): ReadonlySet<string> {
  return keywords[type] ?? noKeywords;
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function group(expressions: readonly string[]): string {
  return `(${expressions.join(' | ')})`;
}

function count(value: unknown, fallback: number, at: string): number;
function count(value: unknown, fallback: undefined, at: string): number | undefined;
function count(value: unknown, fallback: number | undefined, at: string): number | undefined {
  if (value === undefined) return fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= maxRepetitions) return value;
  throw StatorError.invalid(at, `${at} must be a whole number from 0 to ${maxRepetitions}.`);
}

/** The JSON text of a constant, as a GBNF string followed by optional space. */
function literal(value: unknown): string {
  return `${quote(JSON.stringify(value))} space`;
}

export function quote(text: string): string {
  const escaped = text
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    .replaceAll('\r', '\\r')
    .replaceAll('\t', '\\t');
  return `"${escaped}"`;
}
