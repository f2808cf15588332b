import type { Loaded } from './load.ts';
import { flagName, type Setting, type SettingTable, variableName } from './settings.ts';

/** Text of --help: every setting by group, with what it expects, its default and its variable. */
export function formatHelp(command: string, table: SettingTable): string {
  const groups = Object.groupBy(Object.entries(table), ([, entry]) => entry.group);
  const sections = Object.entries(groups).map(([group, entries = []]) => {
    const lines = entries.map(([name, entry]) => settingHelp(name, entry));
    return `${group}:\n${lines.join('\n')}\n`;
  });
  return `Usage: stator ${command} [options]\n\n${sections.join('\n')}
Each setting is read from its flag, then from the environment variable beside it, then from the YAML file
that --config (or STATOR_CONFIG) names, then takes its default. --print-config shows the result.\n`;
}

function settingHelp(name: string, entry: Setting<unknown>): string {
  const fallback = entry.default === undefined || entry.default === '' ? '' : ` Default: ${String(entry.default)}.`;
  return `  ${flagName(name)}  (${entry.expects}; ${variableName(name)})\n      ${entry.help}${fallback}`;
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
