import { createInterface } from 'node:readline';
import { StatorError } from '#lib/errors/errors.ts';
import type { Conversation } from './conversation.ts';

const HELP = `/reset         forget what was said
/system TEXT   set the system message; without text remove it
/model NAME    talk to another model
/quit          end (or Ctrl-D)
Ctrl-C         stop the answer; at the prompt: end
`;

export interface ReplStreams {
  readonly input: NodeJS.ReadStream;
  readonly output: NodeJS.WriteStream;
}

/** Reads lines and answers them until /quit, Ctrl-D or Ctrl-C at the prompt. */
export async function runRepl(
  conversation: Conversation,
  { input, output }: ReplStreams,
  signal: AbortSignal,
): Promise<void> {
  const lines = createInterface({ input, output, prompt: '› ', historySize: 1000 });
  let answering: AbortController | undefined;
  lines.on('SIGINT', () => {
    if (answering === undefined) lines.close();
    else answering.abort();
  });
  const close = (): void => lines.close();
  signal.addEventListener('abort', close, { once: true });
  try {
    lines.prompt();
    for await (const line of lines) {
      const text = line.trim();
      if (text === '/quit' || text === '/exit') break;
      if (text.startsWith('/')) output.write(runCommand(conversation, text));
      else if (text !== '') {
        answering = new AbortController();
        await answer(conversation, text, output, AbortSignal.any([signal, answering.signal]));
        answering = undefined;
      }
      lines.prompt();
    }
  } finally {
    signal.removeEventListener('abort', close);
    lines.close();
    output.write('\n');
  }
}

async function answer(
  conversation: Conversation,
  text: string,
  output: NodeJS.WriteStream,
  signal: AbortSignal,
): Promise<void> {
  try {
    await conversation.say(text, (piece) => output.write(piece), signal);
    output.write('\n\n');
  } catch (error) {
    output.write(signal.aborted ? ' …\n\n' : `\n! ${StatorError.from(error).message}\n\n`);
  }
}

/** What a line that begins with a slash does; returns what to print. */
function runCommand(conversation: Conversation, line: string): string {
  const [command = '', ...words] = line.split(/\s+/);
  const argument = words.join(' ');
  switch (command) {
    case '/reset':
      conversation.reset();
      return 'Forgotten.\n';
    case '/system':
      conversation.setSystem(argument);
      return argument === '' ? 'No system message.\n' : 'The system message is set.\n';
    case '/model':
      if (argument !== '') conversation.model = argument;
      return `Talking to ${conversation.model}.\n`;
    case '/help':
      return HELP;
    default:
      return `There is no ${command}.\n${HELP}`;
  }
}
