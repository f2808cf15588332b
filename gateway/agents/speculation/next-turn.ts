import { create } from '@bufbuild/protobuf';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import { type ChatMessage, ChatMessageSchema } from '#gen/stator/chat/v1/chat_pb.ts';
import { type ChatPrompt, ChatPromptSchema, PreprocessRequestSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { markupOf } from '../../parsing/formats.ts';
import { type FoldedAnswer, foldParts } from '../../parsing/parts.ts';
import { createAnswerParser } from '../../parsing/wishes.ts';
import type { Choice } from '../../pipeline/choice.ts';
import type { Generation } from '../../pipeline/generation.ts';
import type { PipelineParts } from '../../pipeline/parts.ts';

/** Two beginnings that no token shares: what the prompts have in common is what comes before, whatever is said next. */
const probes = ['0', 'Z'] as const;

/**
 * The tokens with which the next turn of a conversation will begin: its messages, the answer, and what the template puts in
 * front of the next message. Rendered twice with different next messages, so that whatever a template drops or rewrites
 * once a message follows (reasoning, above all) is as it will be then. Rejects where the template refuses.
 */
export async function nextTurnTokens(
  parts: Pick<PipelineParts, 'tokenizer'>,
  generation: Generation,
  choice: Choice,
  signal: AbortSignal,
): Promise<readonly number[]> {
  const { request, prompt } = generation;
  if (request.prompt.case !== 'chat') return [...prompt.tokenIds, ...choice.tokenIds];
  const chat = request.prompt.value;
  const answer = assistantMessage(chat, foldedAnswer(generation, choice), choice);
  const render = async (probe: string): Promise<readonly number[]> => {
    const messages = [...chat.messages, answer, ...nextMessages(answer, probe)];
    const value = create(ChatPromptSchema, {
      ...chat,
      messages,
      addGenerationPrompt: false,
      continueFinalMessage: false,
    });
    const asked = create(PreprocessRequestSchema, {
      model: request.model.entry.name,
      prompt: { case: 'chat', value },
      cacheSalt: request.cacheSalt,
      adapter: request.model.adapter,
    });
    return (await parts.tokenizer.preprocess(asked, { signal })).tokenIds;
  };
  const [first, second] = await Promise.all([render(probes[0]), render(probes[1])]);
  return commonPrefix(first, second);
}

/** The answer as its client got it; the parts that were streamed are gone. */
function foldedAnswer({ request, prompt }: Generation, choice: Choice): FoldedAnswer {
  const { parsing } = request;
  const table = parsing === null ? prompt.tokens.table : prompt.tokens.tableWith(markupOf(parsing.formats));
  const detokenizer = new Detokenizer(table, { specialTokens: request.specialTokens });
  const pieces = [...choice.tokenIds.map((tokenId) => detokenizer.push(tokenId)), detokenizer.end()];
  const text = withoutStop(pieces.join(''), choice, request.stop.includeStopString);
  if (parsing === null) return { content: text, reasoning: '', calls: [] };
  const parser = createAnswerParser(parsing, prompt.reasoningStart);
  parser.push(text);
  parser.finish();
  return foldParts(parser.take());
}

function withoutStop(text: string, { finish }: Choice, isIncluded: boolean): string {
  const stop = finish?.stopString ?? null;
  if (stop === null) return text;
  const at = text.lastIndexOf(stop);
  return at < 0 ? text : text.slice(0, isIncluded ? at + stop.length : at);
}

function assistantMessage(
  { messages }: ChatPrompt,
  { content, reasoning, calls }: FoldedAnswer,
  choice: Choice,
): ChatMessage {
  // Clients that keep reasoning show it by the turns that they sent already.
  const keepsReasoning = messages.some((message) => message.reasoningContent !== '');
  const ids = choice.parser?.calls ?? [];
  return create(ChatMessageSchema, {
    role: 'assistant',
    content: content === '' ? [] : [{ part: { case: 'text', value: content } }],
    plainText: true,
    toolCalls: calls.map(({ id, name, arguments: text }, index) => ({
      id: ids[index]?.id ?? id,
      name,
      arguments: text,
    })),
    reasoningContent: keepsReasoning ? reasoning : '',
  });
}

/** What may follow the answer: results of its calls, or else a word of the user. */
function nextMessages({ toolCalls }: ChatMessage, probe: string): ChatMessage[] {
  const content = [{ part: { case: 'text' as const, value: probe } }];
  const [first] = toolCalls;
  if (first === undefined) return [create(ChatMessageSchema, { role: 'user', content, plainText: true })];
  return toolCalls.map(({ id, name }) =>
    create(ChatMessageSchema, { role: 'tool', toolCallId: id, name, content, plainText: true }),
  );
}

function commonPrefix(a: readonly number[], b: readonly number[]): readonly number[] {
  const end = a.findIndex((tokenId, index) => tokenId !== b[index]);
  return end < 0 ? a : a.slice(0, end);
}
