import { itemsSchema, type JsonType, propertySchema, typesOf } from '#core/parsing/schema-types.ts';
import { GrammarError } from '../error.ts';
import { oneOf, quote, RuleSet, repeat } from '../gbnf.ts';
import { checkCount } from '../json/emit-object.ts';
import { Emitter } from '../json/emitter.ts';
import { propertyOf } from '../json/meet.ts';
import { type All, type ArrayShape, isObject, type ObjectShape, type Shape } from '../json/shapes.ts';
import { elementJson } from './element-json.ts';
import { kindOf, rawText, rawValues } from './raw-values.ts';
import { argumentsSchema, type CallTool, maxCallWork } from './tool.ts';

const mark = ']<]minimax[>[';

/**
 * GBNF of calls as MiniMax M3 writes them between `<tool_call>` and `</tool_call>`, one or several. Every tag has a mark in
 * front of it; arguments are elements that nest. Throws GrammarError.
 */
export function minimaxCalls(tools: readonly CallTool[], parallel: boolean): string {
  const rules = new RuleSet({ maxWork: maxCallWork });
  const calls = tools.map((tool) => {
    const begin = quote(`${mark}<invoke name="${tool.name}">`);
    const body = tool.strict ? new ElementWriter(argumentsSchema(tool), rules).arguments() : anyArguments(rules);
    return `${begin} ${body}`;
  });
  const one = rules.add(oneOf(calls));
  return rules.grammar(parallel ? `${one}+` : one);
}

const end = `${mark}</invoke>\n`;

/** Any elements: those whose names nobody said cannot be watched for the same name at their end. */
function anyArguments(rules: RuleSet): string {
  return rawText(rules, { close: end, after: '', tag: `${mark}</invoke>` });
}

/** What schemas of a place allow, and the schema by which the parser reads it. */
interface ElementPlace {
  readonly all: All;
  readonly schema: unknown;
}

/** Writes the elements of arguments. */
class ElementWriter {
  readonly #rules: RuleSet;
  readonly #emitter: Emitter;
  readonly #root: unknown;
  readonly #ids = new Map<unknown, number>();
  readonly #known = new Map<string, string>();

  constructor(root: unknown, rules: RuleSet) {
    this.#rules = rules;
    this.#root = root;
    this.#emitter = new Emitter(root, rules, elementJson(rules));
  }

  /** The elements of all arguments, and the end of the call. */
  arguments(): string {
    const all: All = [{ schema: this.#root, at: '#' }];
    const expansion = this.#emitter.expander.all(all);
    const objects = expansion === 'any' ? [] : expansion.filter((shape) => shape.type === 'object');
    if (typesOf(this.#root, this.#root).has('array')) throw unreadable('#');
    const options = objects
      .map((shape) => (isOpen(shape) ? this.#open(shape) : this.#members(shape, this.#root, quote(end))))
      .filter((option) => option !== null);
    if (options.length === 0) throw new GrammarError('unsupported', '#', 'Arguments need a schema of an object.');
    return this.#rules.add(oneOf(options));
  }

  #open({ additional, minProperties, maxProperties, patterns, names, at }: ObjectShape): string {
    const nothing = maxProperties === 0 || (additional !== null && this.#emitter.expander.all(additional).length === 0);
    if (nothing && minProperties === 0) return quote(end);
    const ruled = minProperties > 0 || maxProperties !== null || patterns.length > 0 || names.length > 0;
    if (ruled || (additional !== null && this.#emitter.expander.all(additional) !== 'any')) throw unreadable(at);
    return anyArguments(this.#rules);
  }

  /** A value and the mark that follows it; null: there is none. */
  #value(place: ElementPlace): string | null {
    const key = [...place.all.map(({ schema }) => schema), '|', place.schema].map((one) => this.#idOf(one)).join(' ');
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const name = this.#rules.reserve();
    this.#known.set(key, name);
    const body = this.#expression(place);
    this.#rules.define(name, body ?? quote('\u{10ffff}'));
    if (body === null) this.#known.delete(key);
    return body === null ? null : name;
  }

  #idOf(value: unknown): number {
    const id = this.#ids.get(value) ?? this.#ids.size;
    this.#ids.set(value, id);
    return id;
  }

  #expression({ all, schema }: ElementPlace): string | null {
    const expansion = this.#emitter.expander.all(all);
    const types = typesOf(schema, this.#root);
    const raw = { close: mark, after: '', tag: mark, told: false, types, untyped: 'string' as const, trims: false };
    if (expansion === 'any') return rawText(this.#rules, raw);
    const nests = (shape: Shape): boolean => isNested(shape, types);
    const options: (string | null)[] = expansion.filter(nests).map((shape) => {
      if (shape.type === 'object') return this.#members(shape, schema, quote(mark));
      return shape.type === 'array' ? this.#items(shape, schema) : null;
    });
    const flat = expansion.filter((shape) => !nests(shape));
    if (flat.length > 0) options.push(rawValues(flat, all, this.#emitter, raw));
    const written = options.filter((option) => option !== null);
    return written.length === 0 ? null : oneOf(written);
  }

  #members(shape: ObjectShape, schema: unknown, close: string): string | null {
    const members: { expression: string; required: boolean }[] = [];
    for (const name of new Set([...shape.properties.keys(), ...shape.required])) {
      const required = shape.required.has(name);
      const all = propertyOf(shape, name);
      const read = isObject(this.#root) ? propertySchema(schema, this.#root, name) : undefined;
      const allowed = this.#emitter.expander.allows(shape.names, name);
      const value = allowed ? this.#value({ all, schema: read }) : null;
      if (value === null && required) return null;
      if (value !== null) members.push({ expression: element(name, value, shape.at), required });
    }
    checkCount(shape, members);
    return [...members.map(({ expression, required }) => (required ? expression : `(${expression})?`)), close].join(
      ' ',
    );
  }

  #items({ items, minItems, maxItems, at }: ArrayShape, schema: unknown): string | null {
    if (maxItems !== null && maxItems < minItems) return null;
    const read = isObject(this.#root) ? itemsSchema(schema, this.#root) : undefined;
    const value = maxItems === 0 ? null : this.#value({ all: items ?? [], schema: read });
    if (value === null) return minItems > 0 ? null : quote(mark);
    return `${repeat(this.#rules.add(element('item', value, at)), minItems, maxItems)} ${quote(mark)}`;
  }
}

/** Whether values of a shape are elements of their own: where the parser expects no other type that looks like them. */
function isNested(shape: Shape, types: ReadonlySet<JsonType>): boolean {
  const kind = kindOf(shape);
  if (shape.type !== 'object' && shape.type !== 'array') return false;
  if (shape.type === 'array' && shape.prefix.length > 0) return false;
  if (shape.type === 'object' && isOpen(shape)) return false;
  return types.has(kind as JsonType) && [...types].every((type) => type === kind || type === 'null');
}

function isOpen(shape: ObjectShape): boolean {
  return shape.properties.size === 0 && shape.required.size === 0;
}

function element(name: string, value: string, at: string): string {
  if (!/^[^\s<>/[\]][^<>[\]]*$/.test(name)) {
    const message = `The name ${JSON.stringify(name)} at ${at} cannot be written in this format of calls.`;
    throw new GrammarError('unsupported', at, message);
  }
  return `${quote(`${mark}<${name}>`)} ${value} ${quote(`</${name}>`)}`;
}

function unreadable(at: string): GrammarError {
  return new GrammarError('unsupported', at, `What ${at} allows cannot be read from this format of calls.`);
}
