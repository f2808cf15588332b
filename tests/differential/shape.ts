/** The types that stand at each place of one or more JSON values, by path: `choices[].message.content` → `null`, `string`. */
export type Shape = Readonly<Record<string, readonly string[]>>;

/** Objects whose keys are data. */
const dataKeys = [/(^|\.)top_logprobs\[\]$/, /(^|\.)prompt_logprobs\[\]$/, /(^|\.)metadata$/];

/** The shape that all of these values have together. */
export function shapeOf(values: readonly unknown[]): Shape {
  const found = new Map<string, Set<string>>();
  for (const value of values) note('', value, found);
  const entries = [...found].map(([path, types]): [string, string[]] => [path, [...types].sort()]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function note(path: string, value: unknown, found: Map<string, Set<string>>): void {
  const type = typeOf(value);
  if (path !== '') found.set(path, (found.get(path) ?? new Set()).add(type));
  if (Array.isArray(value)) for (const inner of value) note(`${path}[]`, inner, found);
  else if (type === 'object') {
    const isData = dataKeys.some((pattern) => pattern.test(path));
    for (const [key, inner] of Object.entries(value as object)) {
      const name = isData ? '{key}' : key;
      note(path === '' ? name : `${path}.${name}`, inner, found);
    }
  }
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}
