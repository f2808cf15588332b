import type { SettingsOf } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { ChatClient } from './chat-client.ts';
import { Conversation } from './conversation.ts';
import { type OwnGateway, startOwnGateway } from './own-gateway.ts';
import { runRepl } from './repl.ts';
import { chatSettings, DEFAULT_URL } from './settings.ts';

type ChatConfig = SettingsOf<typeof chatSettings>;

const PROBE_MS = 2000;

/** `stator chat`: a conversation on a terminal; one answer with --message or piped input. */
export async function chat(argv: readonly string[]): Promise<void> {
  const summary = 'Chats in the terminal. With --message, or with text piped in, prints one answer and ends.';
  const config = configure({ name: 'chat', settings: chatSettings, argv, summary })?.settings;
  if (config === undefined) return;
  await runInterruptible('chat', async (signal) => {
    const own = await gatewayIfNone(config, signal);
    try {
      await converse(config, own, signal);
    } finally {
      await own?.stop();
    }
  });
}

async function gatewayIfNone(config: ChatConfig, signal: AbortSignal): Promise<OwnGateway | undefined> {
  if (config.url !== undefined || (await answers(DEFAULT_URL))) return undefined;
  return startOwnGateway(config.model, signal);
}

async function answers(url: string): Promise<boolean> {
  return fetch(`${url}/live`, { signal: AbortSignal.timeout(PROBE_MS) }).then(
    (response) => response.ok,
    () => false,
  );
}

async function converse(config: ChatConfig, own: OwnGateway | undefined, signal: AbortSignal): Promise<void> {
  const { apiKey, temperature, maxTokens } = config;
  const url = own?.url ?? config.url ?? DEFAULT_URL;
  const client = new ChatClient({ url, apiKey, temperature, maxTokens });
  const asked = own === undefined ? config.model[0] : undefined;
  const model = asked ?? (await client.models(signal))[0];
  if (model === undefined) throw StatorError.notFound(`The gateway at ${url} serves no model.`);
  const conversation = new Conversation(client, model, config.system);
  const message = config.message ?? (process.stdin.isTTY ? undefined : await readAll(process.stdin));
  if (message === undefined) {
    process.stdout.write(`${model} at ${url}. /help explains.\n`);
    await runRepl(conversation, { input: process.stdin, output: process.stdout }, signal);
    return;
  }
  if (message.trim() === '') throw StatorError.invalid('message', 'There is nothing to say: the input is empty.');
  await conversation.say(message, (piece) => process.stdout.write(piece), signal);
  process.stdout.write('\n');
}

async function readAll(input: NodeJS.ReadStream): Promise<string> {
  let text = '';
  input.setEncoding('utf8');
  for await (const chunk of input) text += chunk;
  return text;
}
