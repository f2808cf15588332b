import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { StatorError } from '#lib/errors/errors.ts';
import { refusal, unknownName } from './flags.ts';
import type { SettingTable } from './settings.ts';

export interface FileRequest {
  readonly table: SettingTable;
  /** Settings of all commands: one file may serve several, each takes its own. */
  readonly known: readonly string[];
  readonly path: string;
  readonly read: (path: string) => string;
}

/** The table's settings in a YAML file: one mapping from names to scalars or lists. Throws `invalid_argument` with the line at fault. */
export function readConfigFile({ table, known, path, read }: FileRequest): ReadonlyMap<string, unknown> {
  const lines = new LineCounter();
  const document = parseDocument(readOrThrow(path, read), { lineCounter: lines });
  const syntax = document.errors[0];
  if (syntax !== undefined) throw StatorError.invalid(path, `${path}: ${syntax.message}`);
  if (document.contents === null) return new Map();
  if (!isMap(document.contents)) throw StatorError.invalid(path, `${path}: a mapping of settings is expected.`);
  const values = new Map<string, unknown>();
  for (const { key, value } of document.contents.items) {
    const name = isScalar(key) ? String(key.value) : String(key);
    const line = isScalar(key) ? lines.linePos(key.range?.[0] ?? 0).line : 1;
    const place = `${path}:${line}: `;
    if (!known.includes(name)) throw unknownName(name, known, place);
    const entry = table[name];
    if (entry === undefined) continue;
    const text = valueText(value);
    if (text === undefined) throw StatorError.invalid(name, `${place}${name}: a single value is expected.`);
    const parsed = entry.parse(text);
    if (!parsed.ok) throw StatorError.invalid(name, `${place}${name}: ${refusal(entry, text)}`);
    values.set(name, parsed.value);
  }
  return values;
}

function readOrThrow(path: string, read: (path: string) => string): string {
  try {
    return read(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw StatorError.invalid('--config', `The configuration file ${path} cannot be read: ${reason}.`, { cause });
  }
}

function valueText(value: unknown): string | undefined {
  if (isScalar(value)) return value.value === null ? '' : String(value.value);
  if (isSeq(value) && value.items.every(isScalar)) return value.items.map((item) => String(item.value)).join(',');
  return undefined;
}
