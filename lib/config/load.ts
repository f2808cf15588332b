import { readFileSync } from 'node:fs';
import { StatorError } from '#lib/errors/errors.ts';
import { readConfigFile } from './file.ts';
import { closest } from './nearest.ts';
import { flagName, type Setting, type SettingsOf, type SettingTable, variableName } from './settings.ts';

/** Where a value came from, for --print-config. */
export type Origin = 'default' | 'file' | 'environment' | 'flag';

export interface Sources {
  /** Arguments after the command's name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** YAML file; wins over `--config` and STATOR_CONFIG. */
  readonly file?: string;
  /** Variables that belong to other commands and are therefore no mistake here. */
  readonly foreignVariables?: ReadonlySet<string>;
}

export interface Loaded<T extends SettingTable> {
  readonly settings: SettingsOf<T>;
  readonly origins: Readonly<Record<string, Origin>>;
  /** Arguments that are no flags, in order. */
  readonly positional: readonly string[];
}

/** STATOR_ variables that are no settings of any table. */
const reservedVariables = new Set(['STATOR_CONFIG', 'STATOR_HOME']);

/** Settings from flags, then STATOR_ variables, then the YAML file, then defaults. Throws `invalid_argument` with the nearest known name. */
export function loadSettings<T extends SettingTable>(table: T, sources: Sources): SettingsOf<T> {
  return loadWithOrigins(table, sources).settings;
}

export function loadWithOrigins<T extends SettingTable>(table: T, sources: Sources): Loaded<T> {
  const flags = readFlags(table, sources.argv);
  const variables = readVariables(table, sources);
  const path = sources.file ?? flags.config ?? sources.env['STATOR_CONFIG'];
  const file =
    path === undefined ? new Map<string, unknown>() : readConfigFile(table, path, (name) => readFileSync(name, 'utf8'));
  const settings: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  for (const [name, entry] of Object.entries(table)) {
    settings[name] = entry.default;
    origins[name] = 'default';
    if (file.has(name)) assign(name, file.get(name), 'file');
    if (variables.has(name)) assign(name, variables.get(name), 'environment');
    if (flags.values.has(name)) assign(name, flags.values.get(name), 'flag');
  }
  return { settings: settings as SettingsOf<T>, origins, positional: flags.positional };

  function assign(name: string, value: unknown, origin: Origin): void {
    settings[name] = value;
    origins[name] = origin;
  }
}

interface Flags {
  readonly values: ReadonlyMap<string, unknown>;
  readonly positional: readonly string[];
  readonly config: string | undefined;
}

function readFlags(table: SettingTable, argv: readonly string[]): Flags {
  const byFlag = new Map(Object.keys(table).map((name) => [flagName(name), name]));
  const values = new Map<string, unknown>();
  const positional: string[] = [];
  let config: string | undefined;
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? '';
    if (argument === '--') {
      positional.push(...argv.slice(i + 1));
      break;
    }
    if (!argument.startsWith('--')) {
      positional.push(argument);
      continue;
    }
    const equals = argument.indexOf('=');
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const inline = equals < 0 ? undefined : argument.slice(equals + 1);
    if (flag === '--config') {
      config = inline ?? argv[++i] ?? missingValue(flag);
      continue;
    }
    const negated = flag.startsWith('--no-') ? byFlag.get(`--${flag.slice(5)}`) : undefined;
    if (negated !== undefined && table[negated]?.kind === 'boolean' && inline === undefined) {
      values.set(negated, false);
      continue;
    }
    const name = byFlag.get(flag);
    const entry = name === undefined ? undefined : table[name];
    if (name === undefined || entry === undefined)
      throw unknownName(flag, [...byFlag.keys(), '--config', '--help', '--print-config']);
    if (entry.kind === 'boolean' && inline === undefined) values.set(name, true);
    else values.set(name, parse(entry, flag, inline ?? argv[++i] ?? missingValue(flag)));
  }
  return { values, positional, config };
}

function readVariables(table: SettingTable, { env, foreignVariables }: Sources): ReadonlyMap<string, unknown> {
  const byVariable = new Map(Object.keys(table).map((name) => [variableName(name), name]));
  const values = new Map<string, unknown>();
  for (const [variable, text] of Object.entries(env)) {
    if (text === undefined || !variable.startsWith('STATOR_') || reservedVariables.has(variable)) continue;
    const name = byVariable.get(variable);
    const entry = name === undefined ? undefined : table[name];
    if (name !== undefined && entry !== undefined) values.set(name, parse(entry, variable, text));
    else if (!foreignVariables?.has(variable))
      throw unknownName(variable, [...byVariable.keys(), ...(foreignVariables ?? [])]);
  }
  return values;
}

/** The typed value of a text; throws `invalid_argument` that names the flag, variable or key as it was written. */
export function parse<T>(entry: Setting<T>, writtenAs: string, text: string): T {
  const parsed = entry.parse(text);
  if (parsed.ok) return parsed.value;
  const shown = entry.secret ? 'the value' : JSON.stringify(text);
  const near = entry.kind === 'choice' ? closest(text, entry.expects.replace('one of ', '').split(', ')) : undefined;
  const hint = near === undefined ? '' : ` Did you mean ${near}?`;
  throw StatorError.invalid(writtenAs, `${writtenAs}: ${shown} is not ${entry.expects}.${hint}`);
}

function missingValue(flag: string): never {
  throw StatorError.invalid(flag, `${flag} needs a value.`);
}

export function unknownName(name: string, known: readonly string[]): StatorError {
  const near = closest(name, known);
  return StatorError.invalid(name, `Unknown setting ${name}.${near === undefined ? '' : ` Did you mean ${near}?`}`);
}
