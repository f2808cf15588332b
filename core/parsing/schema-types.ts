import type { ToolSchema } from './context.ts';
import { isJsonNumber, tryJson } from './json-scanner.ts';
import { pythonToJson } from './python-literal.ts';

export type JsonType = 'string' | 'number' | 'integer' | 'boolean' | 'null' | 'object' | 'array';

const maxDepth = 16;
const choices = ['anyOf', 'oneOf', 'allOf'];
type Schema = Readonly<Record<string, unknown>>;

/** The JSON types that a tool's schema allows a parameter; empty: it says nothing. */
export function parameterTypes(tool: ToolSchema | undefined, key: string): ReadonlySet<JsonType> {
  const root = tool?.parameters;
  return isSchema(root) ? typesOf(propertySchema(root, root, key), root) : new Set();
}

/** The JSON types that a schema allows; `root` is where its references lead. */
export function typesOf(schema: unknown, root: unknown): ReadonlySet<JsonType> {
  const types = new Set<JsonType>();
  collect(schema, isSchema(root) ? root : {}, types);
  return types;
}

/** The schema of an object's property, behind references and combinations too. */
export function propertySchema(schema: unknown, root: Schema, key: string): unknown {
  const named = (object: Schema): unknown => {
    const properties = object['properties'];
    return isSchema(properties) && Object.hasOwn(properties, key) ? properties[key] : undefined;
  };
  const own = within(schema, root, `properties ${key}`, named);
  return own ?? within(schema, root, 'additionalProperties', (object) => object['additionalProperties']);
}

/** The schema of an array's items, behind references and combinations too. */
export function itemsSchema(schema: unknown, root: Schema): unknown {
  return within(schema, root, 'items', (array) => array['items']);
}

const combined = new WeakMap<Schema, Map<string, unknown>>();

/** What a schema and those that it combines say; the same object for the same question where several say something. */
function within(schema: unknown, root: Schema, question: string, read: (schema: Schema) => unknown): unknown {
  const found = new Set<unknown>();
  gather(schema, root, (at) => {
    const own = read(at);
    if (own !== undefined) found.add(own);
  });
  if (found.size < 2 || !isSchema(schema)) return [...found][0];
  let known = combined.get(schema);
  if (known === undefined) {
    known = new Map();
    combined.set(schema, known);
  }
  const union = known.get(question) ?? { anyOf: [...found] };
  known.set(question, union);
  return union;
}

/** Visits a schema and all that it combines, each once. */
function gather(
  schema: unknown,
  root: Schema,
  visit: (schema: Schema) => void,
  seen = new Set<unknown>(),
  depth = 0,
): void {
  const at = resolve(schema, root);
  if (!isSchema(at) || depth > maxDepth || seen.has(at)) return;
  seen.add(at);
  visit(at);
  for (const choice of choices) {
    const list = at[choice];
    if (Array.isArray(list)) for (const item of list) gather(item, root, visit, seen, depth + 1);
  }
}

function resolve(schema: unknown, root: Schema): unknown {
  let at = schema;
  for (let hops = 0; hops < maxDepth && isSchema(at) && typeof at['$ref'] === 'string'; hops++) {
    const path = at['$ref'];
    if (!path.startsWith('#')) return undefined;
    at = path
      .slice(1)
      .split('/')
      .filter((part) => part !== '')
      .reduce<unknown>(
        (from, part) => (isSchema(from) ? from[part.replaceAll('~1', '/').replaceAll('~0', '~')] : undefined),
        root,
      );
  }
  return at;
}

/** Types that schemas name; what their values and other keywords show where none names any. */
function collect(schema: unknown, root: Schema, types: Set<JsonType>): void {
  const shown = new Set<JsonType>();
  gather(schema, root, (at) => {
    const named = Array.isArray(at['type']) ? at['type'] : [at['type']];
    for (const type of named) if (isType(type)) types.add(type);
    if (at['nullable'] === true) types.add('null');
    if (named.some(isType)) return;
    const values = Array.isArray(at['enum']) ? at['enum'] : 'const' in at ? [at['const']] : [];
    for (const value of values) shown.add(typeOf(value));
    if ('properties' in at) shown.add('object');
    if ('items' in at) shown.add('array');
  });
  for (const type of shown) types.add(type);
}

/** A parameter's text as JSON of one of the types, the stricter types first; a string where none fits. */
export function convertText(text: string, types: ReadonlySet<JsonType>): string {
  const trimmed = text.trim();
  if (types.has('null') && /^(null|none)$/i.test(trimmed)) return 'null';
  if ((types.has('number') || types.has('integer')) && isJsonNumber(trimmed)) return trimmed;
  if (types.has('boolean') && /^(true|false)$/i.test(trimmed)) return trimmed.toLowerCase();
  if (types.has('object') || types.has('array')) {
    const value = tryJson(trimmed);
    if (typeof value === 'object' && value !== null) return trimmed;
    const converted = pythonToJson(trimmed);
    if (converted !== null && /^[{[]/.test(converted)) return converted;
  }
  return JSON.stringify(text);
}

/** A parameter's text as the JSON that it is, else a string. */
export function convertUntyped(text: string): string {
  const trimmed = text.trim();
  if (tryJson(trimmed) !== undefined) return trimmed;
  if (trimmed === 'True' || trimmed === 'False') return trimmed.toLowerCase();
  return trimmed === 'None' ? 'null' : JSON.stringify(text);
}

export function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isType(value: unknown): value is JsonType {
  return typeof value === 'string' && /^(string|number|integer|boolean|null|object|array)$/.test(value);
}

function typeOf(value: unknown): JsonType {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  const type = typeof value;
  return type === 'number' || type === 'boolean' || type === 'object' ? type : 'string';
}
