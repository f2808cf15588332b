import { closest } from '#lib/config/nearest.ts';
import { packageVersion } from '#lib/config/package.ts';
import { type Command, commands } from './commands.ts';
import { commandsHelp } from './help.ts';

const USAGE_ERROR = 2;

/** Finds the command that the arguments name and runs it. Loads nothing of other commands, so that help is quick. */
export async function dispatch(argv: readonly string[]): Promise<void> {
  const [first, ...rest] = argv;
  if (first === undefined || first === '--help' || first === '-h') return print(commandsHelp(commands));
  if (first === '--version' || first === '-V' || first === 'version') return print(`${packageVersion()}\n`);
  if (first === 'help') return rest.length === 0 ? print(commandsHelp(commands)) : dispatch([...rest, '--help']);
  const { command, args } = findCommand(first, rest);
  if (command !== undefined) return command.run(args);
  const near = closest(first, names());
  const hint = near === undefined ? '' : ` Did you mean ${near}?`;
  process.stderr.write(
    `stator: unknown command ${[first, ...rest].slice(0, 2).join(' ')}.${hint}\nTry: stator --help\n`,
  );
  process.exitCode = USAGE_ERROR;
}

/** Commands have one word or two. */
function findCommand(
  first: string,
  rest: readonly string[],
): { command: Command | undefined; args: readonly string[] } {
  const two = commands.find(({ name }) => name === `${first} ${rest[0]}`);
  if (two !== undefined) return { command: two, args: rest.slice(1) };
  return { command: commands.find(({ name }) => name === first), args: rest };
}

function names(): string[] {
  return commands.map(({ name }) => name);
}

function print(text: string): void {
  process.stdout.write(text);
}
