import type { Command } from './commands.ts';

/** Text of `stator --help`. */
export function commandsHelp(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length)) + 2;
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`);
  return `Stator serves language models: an OpenAI-compatible gateway over gRPC microservices.

Usage: stator COMMAND [options]

${lines.join('\n')}
  ${'version'.padEnd(width)}Prints the version.
  ${'help COMMAND'.padEnd(width)}Explains a command and all its settings.

Start here: stator up
`;
}
