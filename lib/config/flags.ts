import { StatorError } from '#lib/errors/errors.ts';
import { closest } from './nearest.ts';
import { flagName, type Setting, type SettingTable } from './settings.ts';

export interface Flags {
  readonly values: ReadonlyMap<string, unknown>;
  /** Arguments that are no flags, in order. */
  readonly positional: readonly string[];
  /** Arguments after `--`. */
  readonly passthrough: readonly string[];
  /** Value of --config. */
  readonly config: string | undefined;
}

/** Flags that every command understands. */
const commonFlags = ['--config', '--help', '--print-config'];

/** Reads `--name value`, `--name=value`, `--switch`, `--no-switch` and short forms. Throws `invalid_argument`. */
export function readFlags(table: SettingTable, argv: readonly string[]): Flags {
  const byFlag = namesByFlag(table);
  const end = argv.includes('--') ? argv.indexOf('--') : argv.length;
  const values = new Map<string, unknown>();
  const positional: string[] = [];
  let config: string | undefined;
  for (let i = 0; i < end; i++) {
    const argument = argv[i] ?? '';
    if (!argument.startsWith('-') || argument === '-') {
      positional.push(argument);
      continue;
    }
    const { flag, inline } = split(argument);
    const next = (): string => {
      const value = inline ?? (i + 1 < end ? argv[++i] : undefined);
      if (value === undefined || (inline === undefined && value.startsWith('--'))) {
        throw StatorError.invalid(flag, `${flag} needs a value.`);
      }
      return value;
    };
    if (flag === '--config') {
      config = next();
      continue;
    }
    const negated = flag.startsWith('--no-') ? byFlag.get(`--${flag.slice(5)}`) : undefined;
    if (negated !== undefined && table[negated]?.kind === 'boolean' && inline === undefined) {
      values.set(negated, false);
      continue;
    }
    const name = byFlag.get(flag);
    const entry = name === undefined ? undefined : table[name];
    if (name === undefined || entry === undefined) throw unknownName(flag, [...byFlag.keys(), ...commonFlags]);
    values.set(name, entry.kind === 'boolean' && inline === undefined ? true : parse(entry, flag, next()));
  }
  return { values, positional, passthrough: argv.slice(end + 1), config };
}

function namesByFlag(table: SettingTable): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const [name, { short }] of Object.entries(table)) {
    names.set(flagName(name), name);
    if (short !== undefined) names.set(`-${short}`, name);
  }
  return names;
}

function split(argument: string): { flag: string; inline: string | undefined } {
  const equals = argument.indexOf('=');
  return equals < 0
    ? { flag: argument, inline: undefined }
    : { flag: argument.slice(0, equals), inline: argument.slice(equals + 1) };
}

/** The typed value of a text; throws `invalid_argument` that names the flag, variable or key as it was written. */
export function parse<T>(entry: Setting<T>, writtenAs: string, text: string): T {
  const parsed = entry.parse(text);
  if (parsed.ok) return parsed.value;
  throw StatorError.invalid(writtenAs, `${writtenAs}: ${refusal(entry, text)}`);
}

/** Why a text is no value of the setting, with the nearest choice; a secret is not repeated. */
export function refusal(entry: Setting<unknown>, text: string): string {
  const shown = entry.secret ? 'the value' : JSON.stringify(text);
  return `${shown} is not ${entry.expects}.${hint(text, entry.choices)}`;
}

export function unknownName(name: string, known: readonly string[], place = ''): StatorError {
  return StatorError.invalid(name, `${place}Unknown setting ${name}.${hint(name, known)}`);
}

function hint(text: string, known: readonly string[]): string {
  const near = closest(text, known);
  return near === undefined ? '' : ` Did you mean ${near}?`;
}
