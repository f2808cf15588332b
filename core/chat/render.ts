import type { ChatMessage } from '#gen/stator/chat/v1/chat_pb.ts';
import type { ChatPrompt } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { templateArguments, templateMessages, templateTools } from './conversation.ts';
import { describeTools } from './described-tools.ts';
import { ConversationError, TemplateError } from './errors.ts';
import { normalized } from './normalize.ts';
import { type ChatTemplate, compileTemplate, type RenderLimits } from './template.ts';
import type { Data, Dict } from './value.ts';

/** The templates of a model. */
export interface TemplateSources {
  /** Empty: the model does not chat. */
  readonly main: string;
  /** Alternatives by name; `tool_use` is taken when tools are offered. */
  readonly named: Readonly<Record<string, string>>;
}

/** Texts of the special tokens that templates print; empty where the model has none. */
export interface SpecialTokenTexts {
  readonly bos: string;
  readonly eos: string;
  readonly unk: string;
  readonly pad: string;
}

export interface RenderOptions extends RenderLimits {
  readonly specialTokens: SpecialTokenTexts;
  /** What strftime_now prints. */
  readonly now: Date;
  /**
   * Whether conversations are made to fit templates that do not take them: tools that a template does not know are
   * described in the text, and where it refuses a conversation, system messages are joined in front and turns of the
   * user in a row become one. Otherwise templates leave out or refuse what they do not take.
   */
  readonly accommodates?: boolean;
}

/** Compiles templates once. Bounded: the least recently used leave. */
export class TemplateCache {
  readonly #limit: number;
  readonly #compiled = new Map<string, ChatTemplate>();

  constructor(o: { limit: number }) {
    this.#limit = o.limit;
  }

  /** Throws TemplateError `syntax`. */
  get(source: string): ChatTemplate {
    const found = this.#compiled.get(source);
    const template = found ?? compileTemplate(source);
    this.#compiled.delete(source);
    this.#compiled.set(source, template);
    for (const oldest of this.#compiled.keys()) {
      if (this.#compiled.size <= this.#limit) break;
      this.#compiled.delete(oldest);
    }
    return template;
  }
}

/** Text of a conversation. Throws TemplateError or ConversationError. */
export function renderChat(
  cache: TemplateCache,
  sources: TemplateSources,
  prompt: ChatPrompt,
  options: RenderOptions,
): string {
  if (prompt.messages.length === 0) throw new ConversationError('messages', 'A conversation needs a message.');
  const source = chooseTemplate(sources, prompt);
  if (source === '') throw new TemplateError('failed', 'This model has no chat template.');
  const addGenerationPrompt = prompt.addGenerationPrompt ?? !prompt.continueFinalMessage;
  if (prompt.continueFinalMessage && addGenerationPrompt) {
    throw new ConversationError(
      'continue_final_message',
      'continue_final_message needs add_generation_prompt to be false.',
    );
  }
  const template = cache.get(source);
  const { features } = template;
  const describes = options.accommodates === true && !features.tools && !features.toolCalls;
  const described = describes ? describeTools(prompt.messages, prompt.tools, features.systemRole) : prompt.messages;
  const variables = templateVariables(prompt, options, addGenerationPrompt);
  try {
    return renderMessages(template, described, variables, prompt, options);
  } catch (error) {
    // Many templates take only one system message, in front, and turns that alternate.
    const raised = options.accommodates === true && error instanceof TemplateError && error.kind === 'raised';
    const plainer = raised ? normalized(described) : described;
    if (plainer.every((message, index) => message === described[index])) throw error;
    return renderMessages(template, plainer, variables, prompt, options);
  }
}

function renderMessages(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  variables: Dict,
  prompt: ChatPrompt,
  options: RenderOptions,
): string {
  const seen = templateMessages(messages, template.features);
  const text = template.render(new Map<string, Data>([['messages', seen], ...variables]), options);
  return prompt.continueFinalMessage ? openFinalMessage(text, seen) : text;
}

function templateVariables(prompt: ChatPrompt, options: RenderOptions, addGenerationPrompt: boolean): Dict {
  return new Map<string, Data>([
    ['tools', prompt.tools.length === 0 ? null : templateTools(prompt.tools)],
    ['documents', null],
    ['add_generation_prompt', addGenerationPrompt],
    ['bos_token', options.specialTokens.bos],
    ['eos_token', options.specialTokens.eos],
    ['unk_token', options.specialTokens.unk],
    ['pad_token', options.specialTokens.pad],
    ...templateArguments(prompt.templateArgsJson),
  ]);
}

function chooseTemplate(sources: TemplateSources, prompt: ChatPrompt): string {
  if (prompt.chatTemplate !== '') return prompt.chatTemplate;
  if (prompt.tools.length > 0) return sources.named['tool_use'] ?? sources.main;
  return sources.main === '' ? (sources.named['default'] ?? '') : sources.main;
}

/** Cuts the text after the last message's content, as transformers does for continue_final_message. */
function openFinalMessage(text: string, messages: readonly Dict[]): string {
  const content = lastText(messages.at(-1)?.get('content'));
  const bare = content.trim();
  const at = text.lastIndexOf(bare);
  if (bare === '' || at < 0) {
    throw new ConversationError(
      'continue_final_message',
      'The last message does not appear in the rendered conversation, so it cannot be continued.',
    );
  }
  const trailing = content.trimStart();
  return text.slice(0, at + (text.startsWith(trailing, at) ? trailing.length : bare.length));
}

function lastText(content: Data): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  for (const part of content.toReversed()) {
    const text: Data = part instanceof Map ? part.get('text') : undefined;
    if (typeof text === 'string') return text;
  }
  return '';
}
