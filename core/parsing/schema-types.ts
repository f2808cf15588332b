import type { ToolSchema } from './context.ts';
import { isJsonNumber, tryJson } from './json-scanner.ts';
import { pythonToJson } from './python-literal.ts';

export type JsonType = 'string' | 'number' | 'integer' | 'boolean' | 'null' | 'object' | 'array';

const maxDepth = 16;
type Schema = Readonly<Record<string, unknown>>;

/** The JSON types that a tool's schema allows a parameter; empty: it says nothing. */
export function parameterTypes(tool: ToolSchema | undefined, key: string): ReadonlySet<JsonType> {
  const root = tool?.parameters;
  return isSchema(root) ? typesOf(propertySchema(root, root, key), root) : new Set();
}

/** The JSON types that a schema allows; `root` is where its references lead. */
export function typesOf(schema: unknown, root: unknown): ReadonlySet<JsonType> {
  const types = new Set<JsonType>();
  collect(schema, isSchema(root) ? root : {}, types, 0);
  return types;
}

/** The schema of an object's property, behind references too. */
export function propertySchema(schema: unknown, root: Schema, key: string): unknown {
  const object = resolve(schema, root);
  if (!isSchema(object)) return undefined;
  const properties = object['properties'];
  if (isSchema(properties) && Object.hasOwn(properties, key)) return properties[key];
  return object['additionalProperties'];
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

function collect(schema: unknown, root: Schema, types: Set<JsonType>, depth: number): void {
  const at = resolve(schema, root);
  if (!isSchema(at) || depth > maxDepth) return;
  const named = Array.isArray(at['type']) ? at['type'] : [at['type']];
  for (const type of named) if (isType(type)) types.add(type);
  if (at['nullable'] === true) types.add('null');
  for (const choice of ['anyOf', 'oneOf', 'allOf']) {
    const list = at[choice];
    if (Array.isArray(list)) for (const item of list) collect(item, root, types, depth + 1);
  }
  if (types.size > 0) return;
  const values = Array.isArray(at['enum']) ? at['enum'] : 'const' in at ? [at['const']] : [];
  for (const value of values) types.add(typeOf(value));
  if ('properties' in at) types.add('object');
  if ('items' in at) types.add('array');
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
