import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { StatorError } from '#lib/errors/errors.ts';
import { closest } from './nearest.ts';
import type { SettingTable } from './settings.ts';

/** Settings of a YAML file: one mapping from names to scalars or lists. Throws `invalid_argument` with the line at fault. */
export function readConfigFile(
  table: SettingTable,
  path: string,
  read: (path: string) => string,
): ReadonlyMap<string, unknown> {
  const lines = new LineCounter();
  const document = parseDocument(readOrThrow(path, read), { lineCounter: lines });
  const syntax = document.errors[0];
  if (syntax !== undefined) throw StatorError.invalid(path, `${path}: ${syntax.message}`);
  if (document.contents === null) return new Map();
  if (!isMap(document.contents)) throw StatorError.invalid(path, `${path}: a mapping of settings is expected.`);
  const values = new Map<string, unknown>();
  for (const pair of document.contents.items) {
    const key = isScalar(pair.key) ? pair.key : undefined;
    const name = String(key?.value);
    const place = `${path}:${lines.linePos(key?.range?.[0] ?? 0).line}`;
    const entry = table[name];
    if (entry === undefined) {
      const near = closest(name, Object.keys(table));
      throw StatorError.invalid(
        name,
        `${place}: unknown setting ${name}.${near === undefined ? '' : ` Did you mean ${near}?`}`,
      );
    }
    const text = valueText(pair.value);
    const parsed = text === undefined ? { ok: false as const } : entry.parse(text);
    if (!parsed.ok) {
      const shown = entry.secret ? 'the value' : JSON.stringify(text ?? 'a nested value');
      throw StatorError.invalid(name, `${place}: ${name}: ${shown} is not ${entry.expects}.`);
    }
    values.set(name, parsed.value);
  }
  return values;
}

function readOrThrow(path: string, read: (path: string) => string): string {
  try {
    return read(path);
  } catch (error) {
    throw StatorError.invalid('--config', `The configuration file ${path} cannot be read.`, { cause: error });
  }
}

function valueText(value: unknown): string | undefined {
  if (isScalar(value)) return value.value === null ? '' : String(value.value);
  if (isSeq(value)) return value.items.map((item) => (isScalar(item) ? String(item.value) : '')).join(',');
  return undefined;
}
