import { parseQuantity, type Unit, unitExamples } from './units.ts';

/** One setting: its type, its default, and what people read about it. Flag, variable and file key follow from its name in the table. */
export interface Setting<T> {
  readonly kind: 'string' | 'integer' | 'number' | 'boolean' | 'choice' | 'list';
  readonly default: T;
  readonly help: string;
  /** Heading in --help. */
  readonly group: string;
  /** Never printed and never logged. */
  readonly secret: boolean;
  /** What a value must look like, for help and errors. */
  readonly expects: string;
  /** Values of a choice; empty for others. */
  readonly choices: readonly string[];
  /** One-letter flag, for example "m" for -m. */
  readonly short: string | undefined;
  /** The typed value, or the reason why the text is none. */
  readonly parse: (text: string) => Parsed<T>;
}

export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false };

export type SettingTable = Readonly<Record<string, Setting<unknown>>>;

export type SettingsOf<T extends SettingTable> = {
  readonly [K in keyof T]: T[K] extends Setting<infer V> ? V : never;
};

export interface SettingOptions<T> {
  readonly default: T;
  readonly help: string;
  readonly group?: string;
  readonly secret?: boolean;
  readonly short?: string;
}

type OptionalOptions = Omit<SettingOptions<undefined>, 'default'>;

interface Bounds {
  readonly min?: number;
  readonly max?: number;
  /** Unit of the value; lets people write other units of the same kind. */
  readonly unit?: Unit;
}

function create<T>(
  kind: Setting<T>['kind'],
  expects: string,
  options: SettingOptions<T>,
  parse: Setting<T>['parse'],
  choices: readonly string[] = [],
): Setting<T> {
  const { help, group = 'General', secret = false, short } = options;
  return { kind, expects, default: options.default, help, group, secret, parse, choices, short };
}

function accept<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

const refused = { ok: false } as const;

function boundsText(noun: string, bounds: Bounds): string {
  return `${noun}${limitsText(bounds)}${bounds.unit === undefined ? '' : ` (${unitExamples(bounds.unit)})`}`;
}

function limitsText({ min, max }: Bounds): string {
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  if (min !== undefined) return ` of at least ${min}`;
  return max === undefined ? '' : ` of at most ${max}`;
}

function parseNumber(text: string, { min, max, unit }: Bounds, integer: boolean): Parsed<number> {
  const value = parseQuantity(text, unit);
  if (!Number.isFinite(value) || (integer && !Number.isSafeInteger(value))) return refused;
  return value < (min ?? -Infinity) || value > (max ?? Infinity) ? refused : accept(value);
}

const booleans: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  1: true,
  false: false,
  no: false,
  off: false,
  0: false,
};

function parseBoolean(text: string): Parsed<boolean> {
  const value = booleans[text.trim().toLowerCase()];
  return value === undefined ? refused : accept(value);
}

function parseList(text: string): Parsed<readonly string[]> {
  return accept(
    text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  );
}

/** Constructors of settings, one for each type. */
export const setting = {
  string: (options: SettingOptions<string>): Setting<string> => create('string', 'text', options, accept),
  optionalString: (options: OptionalOptions): Setting<string | undefined> =>
    create<string | undefined>('string', 'text', { ...options, default: undefined }, accept),
  integer: (options: SettingOptions<number> & Bounds): Setting<number> =>
    create('integer', boundsText('a whole number', options), options, (text) => parseNumber(text, options, true)),
  optionalInteger: (options: OptionalOptions & Bounds): Setting<number | undefined> =>
    create<number | undefined>(
      'integer',
      boundsText('a whole number', options),
      { ...options, default: undefined },
      (text) => parseNumber(text, options, true),
    ),
  number: (options: SettingOptions<number> & Bounds): Setting<number> =>
    create('number', boundsText('a number', options), options, (text) => parseNumber(text, options, false)),
  optionalNumber: (options: OptionalOptions & Bounds): Setting<number | undefined> =>
    create<number | undefined>('number', boundsText('a number', options), { ...options, default: undefined }, (text) =>
      parseNumber(text, options, false),
    ),
  boolean: (options: SettingOptions<boolean>): Setting<boolean> =>
    create('boolean', 'true or false', options, parseBoolean),
  choice: <const V extends string>(values: readonly V[], options: SettingOptions<NoInfer<V>>): Setting<V> =>
    create<V>(
      'choice',
      `one of ${values.join(', ')}`,
      options,
      (text) => {
        const value = values.find((candidate) => candidate === text);
        return value === undefined ? refused : accept(value);
      },
      values,
    ),
  list: (options: SettingOptions<readonly string[]>): Setting<readonly string[]> =>
    create('list', 'values separated by commas', options, parseList),
};

export function defineSettings<const T extends SettingTable>(table: T): T {
  return table;
}

/** The defaults, with some settings replaced: configuration for tests and for composing services in one process. */
export function defaultSettings<T extends SettingTable>(
  table: T,
  overrides: Partial<SettingsOf<T>> = {},
): SettingsOf<T> {
  const defaults = Object.fromEntries(Object.entries(table).map(([name, entry]) => [name, entry.default]));
  return { ...defaults, ...overrides } as SettingsOf<T>;
}

/** `maxSequences` → `--max-sequences`. */
export function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `maxSequences` → `STATOR_MAX_SEQUENCES`. */
export function variableName(name: string): string {
  return `STATOR_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}
