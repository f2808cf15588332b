import { environment } from '#lib/config/environment.ts';
import { formatHelp, formatSettings } from '#lib/config/format.ts';
import { type Loaded, loadWithOrigins } from '#lib/config/load.ts';
import type { SettingTable } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { exitCodeOf } from './exit.ts';

export interface CommandLine<T extends SettingTable> {
  /** Name of the command, for example "models pull". */
  readonly name: string;
  readonly settings: T;
  /** Arguments after the command's name; default: those of the process. */
  readonly argv?: readonly string[];
  /** What the arguments that are no flags mean, for example "REFERENCE"; unset: there are none. */
  readonly positional?: string;
  /** What the arguments after `--` mean; unset: there are none. */
  readonly passthrough?: string;
  /** One sentence for --help. */
  readonly summary?: string;
}

/** The settings from all sources; undefined where --help, --print-config or an error was printed instead. */
export function configure<T extends SettingTable>(command: CommandLine<T>): Loaded<T> | undefined {
  const { name, settings: table, argv = environment.argv } = command;
  const own = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  if (own.includes('--help') || own.includes('-h')) {
    process.stdout.write(formatHelp(command));
    return undefined;
  }
  try {
    const print = own.includes('--print-config');
    const rest = argv.filter((argument) => argument !== '--print-config');
    const loaded = loadWithOrigins(table, { argv: rest, env: environment.variables });
    const extra = loaded.positional[0];
    if (extra !== undefined && command.positional === undefined) throw unexpected(extra);
    const passed = loaded.passthrough[0];
    if (passed !== undefined && command.passthrough === undefined) throw unexpected(passed);
    if (!print) return loaded;
    process.stdout.write(formatSettings(table, loaded));
  } catch (thrown) {
    const error = StatorError.from(thrown);
    process.stderr.write(`stator ${name}: ${error.message}\nTry: stator ${name} --help\n`);
    process.exitCode = exitCodeOf(error);
  }
  return undefined;
}

function unexpected(argument: string): StatorError {
  return StatorError.invalid(argument, `Unexpected argument ${argument}.`);
}
