import type { Loaded } from './load.ts';
import { flagName, type Setting, type SettingTable, variableName } from './settings.ts';

export interface HelpRequest {
  readonly name: string;
  readonly settings: SettingTable;
  readonly positional?: string;
  readonly passthrough?: string;
  readonly summary?: string;
}

/** Text of --help: every setting by group, with what it expects, its default and its variable. */
export function formatHelp({ name, settings, positional, passthrough, summary }: HelpRequest): string {
  const groups = Object.groupBy(Object.entries(settings), ([, entry]) => entry.group);
  const sections = Object.entries(groups).map(([group, entries = []]) => {
    const lines = entries.map(([key, entry]) => settingHelp(key, entry));
    return `${group}:\n${lines.join('\n')}\n`;
  });
  const usage = [
    `Usage: stator ${name}`,
    ...(positional === undefined ? [] : [positional]),
    '[options]',
    ...(passthrough === undefined ? [] : [`-- ${passthrough}`]),
  ];
  return `${[usage.join(' '), ...(summary === undefined ? [] : [summary]), ...sections].join('\n\n')}
Each setting is read from its flag, then from the environment variable beside it, then from the YAML file
that --config (or STATOR_CONFIG) names, then takes its default. --print-config shows the result.\n`;
}

function settingHelp(name: string, entry: Setting<unknown>): string {
  const flag = entry.short === undefined ? flagName(name) : `-${entry.short}, ${flagName(name)}`;
  const fallback = defaultText(entry);
  const shown = fallback === undefined ? '' : ` Default: ${fallback}.`;
  return `  ${flag}  (${entry.expects}; ${variableName(name)})\n      ${entry.help}${shown}`;
}

/** The default as people would write it; undefined where there is none to speak of. */
export function defaultText({ default: value }: Setting<unknown>): string | undefined {
  const text = Array.isArray(value) ? value.join(',') : String(value ?? '');
  return text === '' ? undefined : text;
}

/** Text of --print-config: YAML that can be used as a file; secrets are redacted, comments say where values come from. */
export function formatSettings<T extends SettingTable>(table: T, loaded: Loaded<T>): string {
  const lines = Object.entries(table).map(([name, entry]) => {
    const value = (loaded.settings as Record<string, unknown>)[name];
    const text = entry.secret && value !== undefined ? '"[redacted]"' : (JSON.stringify(value) ?? 'null');
    return `${value === undefined ? '# ' : ''}${name}: ${text}  # ${loaded.origins[name]}`;
  });
  return `${lines.join('\n')}\n`;
}
