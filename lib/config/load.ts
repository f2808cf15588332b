import { readFileSync } from 'node:fs';
import { readConfigFile } from './file.ts';
import { parse, readFlags, unknownName } from './flags.ts';
import { knownSettings } from './known-settings.ts';
import { type SettingsOf, type SettingTable, variableName } from './settings.ts';

/** Where a value came from, for --print-config. */
export type Origin = 'default' | 'file' | 'environment' | 'flag';

export interface Sources {
  /** Arguments after the command's name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** YAML file; wins over `--config` and STATOR_CONFIG. */
  readonly file?: string;
  /** Settings of all commands: their variables and file keys are no mistake here. Default: those of this release. */
  readonly known?: readonly string[];
}

export interface Loaded<T extends SettingTable> {
  readonly settings: SettingsOf<T>;
  readonly origins: Readonly<Record<string, Origin>>;
  /** Arguments that are no flags, in order. */
  readonly positional: readonly string[];
  /** Arguments after `--`. */
  readonly passthrough: readonly string[];
  /** The YAML file, where there was one. */
  readonly file: string | undefined;
}

const CONFIG_VARIABLE = 'STATOR_CONFIG';
/** Variables of the test suite, which pass through to the processes that it starts. */
const TEST_PREFIX = 'STATOR_TEST_';

/** Settings from flags, then STATOR_ variables, then the YAML file, then defaults. Throws `invalid_argument` with the nearest known name. */
export function loadSettings<T extends SettingTable>(table: T, sources: Sources): SettingsOf<T> {
  return loadWithOrigins(table, sources).settings;
}

export function loadWithOrigins<T extends SettingTable>(table: T, sources: Sources): Loaded<T> {
  const known = [...new Set([...Object.keys(table), ...(sources.known ?? knownSettings)])];
  const flags = readFlags(table, sources.argv);
  const variables = readVariables(table, sources.env, known);
  const path = sources.file ?? flags.config ?? sources.env[CONFIG_VARIABLE];
  const file = path === undefined ? undefined : readConfigFile({ table, known, path, read: readText });
  const settings: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  for (const [name, entry] of Object.entries(table)) {
    if (flags.values.has(name)) assign(name, flags.values.get(name), 'flag');
    else if (variables.has(name)) assign(name, variables.get(name), 'environment');
    else if (file?.has(name)) assign(name, file.get(name), 'file');
    else assign(name, entry.default, 'default');
  }
  const { positional, passthrough } = flags;
  return { settings: settings as SettingsOf<T>, origins, positional, passthrough, file: path };

  function assign(name: string, value: unknown, origin: Origin): void {
    settings[name] = value;
    origins[name] = origin;
  }
}

function readVariables(
  table: SettingTable,
  env: Sources['env'],
  known: readonly string[],
): ReadonlyMap<string, unknown> {
  const byVariable = new Map(known.map((name) => [variableName(name), name]));
  const values = new Map<string, unknown>();
  for (const [variable, text] of Object.entries(env)) {
    if (text === undefined || !variable.startsWith('STATOR_') || variable.startsWith(TEST_PREFIX)) continue;
    if (variable === CONFIG_VARIABLE) continue;
    const name = byVariable.get(variable);
    if (name === undefined) throw unknownName(variable, [...byVariable.keys(), CONFIG_VARIABLE]);
    const entry = table[name];
    if (entry !== undefined) values.set(name, parse(entry, variable, text));
  }
  return values;
}

function readText(path: string): string {
  return readFileSync(path, 'utf8');
}
