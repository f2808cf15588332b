import { ConversationError, TemplateError } from '#core/chat/errors.ts';
import { renderChat } from '#core/chat/render.ts';
import type { ChatPrompt, TextPrompt } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { TokenizerContext } from './context.ts';
import type { ServedModel } from './models/models.ts';
import { concatenateIds } from './text-encoder.ts';

/** A prompt as token ids, and what it took. */
export interface EncodedPrompt {
  readonly ids: Uint32Array;
  /** The text that was encoded. */
  readonly text: string;
  readonly cachedTokens: number;
  readonly renderMs: number;
  readonly encodeMs: number;
}

/** Renders and encodes a conversation. */
export async function encodeChat(
  context: TokenizerContext,
  model: ServedModel,
  chat: ChatPrompt,
): Promise<EncodedPrompt> {
  refuseMedia(chat);
  const startMs = context.nowMs();
  const text = render(context, model, chat);
  const renderMs = context.nowMs() - startMs;
  context.metrics.renderSeconds.observe(renderMs / 1000);
  return { ...(await encode(context, model, text, beforeChat(model, text), none)), renderMs };
}

/** Encodes text, by default between the model's own special tokens. */
export async function encodeText(
  context: TokenizerContext,
  model: ServedModel,
  prompt: TextPrompt,
): Promise<EncodedPrompt> {
  return { ...(await encodePlain(context, model, prompt.text, prompt.addSpecialTokens ?? true)), renderMs: 0 };
}

export function encodePlain(
  context: TokenizerContext,
  model: ServedModel,
  text: string,
  addSpecialTokens: boolean,
): Promise<Omit<EncodedPrompt, 'renderMs'>> {
  const { prefixIds, suffixIds } = model.vocabulary;
  return encode(context, model, text, addSpecialTokens ? prefixIds : none, addSpecialTokens ? suffixIds : none);
}

const none = new Uint32Array(0);

/** Templates write the begin-of-sequence token themselves; where one leaves it out, it is added, but never twice. */
function beforeChat(model: ServedModel, text: string): Uint32Array {
  const { bos } = model.vocabulary.specialTexts;
  const wanted = model.card.tokenizer?.addBos === true && model.bosTokenId !== null;
  return wanted && (bos === '' || !text.startsWith(bos)) ? Uint32Array.of(model.bosTokenId) : none;
}

async function encode(
  context: TokenizerContext,
  model: ServedModel,
  text: string,
  before: Uint32Array,
  after: Uint32Array,
): Promise<Omit<EncodedPrompt, 'renderMs'>> {
  checkLength(context, text);
  const startMs = context.nowMs();
  const { ids, cachedTokens } = await model.encoder.encode(text);
  const encodeMs = context.nowMs() - startMs;
  context.metrics.encodeSeconds.observe(encodeMs / 1000);
  const whole = before.length === 0 && after.length === 0 ? ids : concatenateIds([before, ids, after]);
  context.metrics.encodedTokens.inc(whole.length);
  return { ids: whole, text, cachedTokens, encodeMs };
}

function checkLength(context: TokenizerContext, text: string): void {
  if (text.length <= context.maxTextLength) return;
  throw new StatorError(
    'payload_too_large',
    `The text has ${text.length} characters; the tokenizer takes at most ${context.maxTextLength}.`,
    { field: 'prompt', facts: { limit: context.maxTextLength, actual: text.length } },
  );
}

function render(context: TokenizerContext, model: ServedModel, chat: ChatPrompt): string {
  if (chat.chatTemplate === '' && model.templates.main === '' && Object.keys(model.templates.named).length === 0) {
    throw StatorError.unsupported('messages', `The model \`${model.name}\` has no chat template; use completions.`);
  }
  try {
    return renderChat(context.templates, model.templates, chat, {
      specialTokens: model.vocabulary.specialTexts,
      now: context.wallClock(),
      nowMs: context.nowMs,
      maxMs: context.maxRenderMs,
      maxOutputLength: context.maxTextLength,
      accommodates: true,
    });
  } catch (thrown) {
    throw renderError(thrown, chat);
  }
}

function renderError(thrown: unknown, chat: ChatPrompt): unknown {
  if (thrown instanceof ConversationError) return StatorError.invalid(thrown.field, thrown.message);
  if (!(thrown instanceof TemplateError)) return thrown;
  if (thrown.kind === 'raised') return StatorError.invalid('messages', thrown.message);
  const field = chat.chatTemplate === '' ? 'messages' : 'chat_template';
  return StatorError.invalid(field, `The chat template cannot render this conversation: ${thrown.message}`);
}

/** A slot for media in a prompt needs the engine's own count of its tokens; no engine here tells it. */
function refuseMedia(chat: ChatPrompt): void {
  for (const [i, message] of chat.messages.entries()) {
    const at = message.content.findIndex(({ part }) => part.case === 'media');
    if (at >= 0) throw StatorError.unsupported(`messages[${i}].content[${at}]`, 'This model takes only text.');
  }
}
