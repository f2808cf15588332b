import { TemplateError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { listFilters } from './list-filters.ts';
import { filterNames } from './tests.ts';
import { type Filter, textFilters } from './text-filters.ts';
import { fail, text, type Value } from './value.ts';

const fromJson: Filter = (value) => {
  try {
    return parseJson(text(value, 'JSON')) as Value;
  } catch (error) {
    throw error instanceof SyntaxError ? fail(`not valid JSON: ${error.message}`) : error;
  }
};

const filters: Readonly<Record<string, Filter>> = Object.assign(Object.create(null), textFilters, {
  ...listFilters(filterNamed),
  fromjson: fromJson,
  from_json: fromJson,
});
const aliases: Readonly<Record<string, string>> = { d: 'default' };

for (const name of [...Object.keys(filters), ...Object.keys(aliases)]) filterNames.add(name);

/** Throws TemplateError `syntax` for a filter that is unknown: Jinja finds that when it compiles. */
export function filterNamed(name: string): Filter {
  const filter = filters[aliases[name] ?? name];
  if (filter === undefined) throw new TemplateError('syntax', `No filter named '${name}'.`);
  return filter;
}
