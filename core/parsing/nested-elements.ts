import { convertText, isSchema, itemsSchema, propertySchema, typesOf } from './schema-types.ts';

/** An element's text, or its children by name in their order. */
export type Element = string | readonly (readonly [name: string, value: Element])[];

const maxDepth = 64;

interface Cursor {
  readonly text: string;
  readonly mark: string;
  at: number;
}

/** Children `MARK<name>…MARK</name>` of a text; stops at the first that is malformed or cut off. */
export function parseElements(text: string, mark: string): readonly (readonly [string, Element])[] {
  const cursor: Cursor = { text, mark, at: 0 };
  const elements: (readonly [string, Element])[] = [];
  for (;;) {
    cursor.at = cursor.text.indexOf(`${mark}<`, cursor.at);
    const element = cursor.at < 0 ? null : parseElement(cursor, 0);
    if (element === null) return elements;
    elements.push(element);
  }
}

function parseElement(cursor: Cursor, depth: number): readonly [string, Element] | null {
  const { text, mark } = cursor;
  const from = cursor.at + mark.length + 1;
  const to = text.indexOf('>', from);
  const name = text.slice(from, to);
  if (to < 0 || name === '' || name.startsWith('/') || depth > maxDepth) return null;
  const close = `${mark}</${name}>`;
  const children: (readonly [string, Element])[] = [];
  let body = '';
  cursor.at = to + 1;
  for (;;) {
    const next = text.indexOf(mark, cursor.at);
    if (next < 0) return null;
    body += text.slice(cursor.at, next);
    cursor.at = next;
    if (text.startsWith(close, next)) {
      cursor.at += close.length;
      if (children.length === 0) return [name, body];
      if (body.trim() !== '') children.push(['$text', body]);
      return [name, children];
    }
    if (!text.startsWith('<', next + mark.length)) return null;
    const child = parseElement(cursor, depth + 1);
    if (child === null) return null;
    children.push(child);
  }
}

/** An element as JSON of its schema; `root` is where the schema's references lead. Repeated names become a list. */
export function convertElement(element: Element, schema: unknown, root: unknown): string {
  const types = typesOf(schema, root);
  if (typeof element === 'string') {
    if (types.size === 0 || types.has('string') || element.trim() !== '') return convertText(element, types);
    if (types.has('array')) return '[]';
    return types.has('object') ? '{}' : convertText(element, types);
  }
  if (types.has('array')) {
    const items = isSchema(root) ? itemsSchema(schema, root) : undefined;
    return `[${element.map(([, value]) => convertElement(value, items, root)).join(',')}]`;
  }
  const members = new Map<string, string[]>();
  for (const [name, value] of element) {
    const member = convertElement(value, isSchema(root) ? propertySchema(schema, root, name) : undefined, root);
    const list = members.get(name);
    if (list === undefined) members.set(name, [member]);
    else list.push(member);
  }
  const written = [...members].map(
    ([name, values]) => `${JSON.stringify(name)}:${values.length === 1 ? values[0] : `[${values.join(',')}]`}`,
  );
  return `{${written.join(',')}}`;
}
