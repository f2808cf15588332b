import type { ToolSchema } from '#core/parsing/context.ts';
import { reasoningAfter } from '#core/parsing/detect.ts';
import type { ReasoningStart, ToolChoice } from '#core/parsing/document.ts';
import { AnswerParser } from './answer-parser.ts';
import type { ModelFormats } from './formats.ts';

/** How the text of an answer is to be understood. */
export interface ParsingWishes {
  readonly formats: ModelFormats;
  readonly tools: readonly ToolSchema[];
  readonly toolChoice: ToolChoice;
  readonly parallelToolCalls: boolean;
  /** A grammar forces the answer to be JSON from its first token on. */
  readonly structured: boolean;
  /** Whether the request decided that the model thinks; null: it left that to the template. */
  readonly thinking: boolean | null;
  /** A last message that the model continues: whether it left reasoning open; null: the answer begins a message of its own. */
  readonly continuesReasoning: boolean | null;
  readonly showReasoning: boolean;
  readonly fillsContent: boolean;
}

/** Whether the answer can hold anything but content. */
export function needsParsing(wishes: ParsingWishes): boolean {
  return wishes.formats.reasoning !== null || wishes.toolChoice.mode !== 'none';
}

/** A parser for one choice. */
export function createAnswerParser(wishes: ParsingWishes, start: ReasoningStart): AnswerParser {
  return new AnswerParser({
    toolFormat: wishes.formats.tool,
    reasoningFormat: wishes.formats.reasoning,
    tools: wishes.tools,
    toolChoice: wishes.toolChoice,
    parallelToolCalls: wishes.parallelToolCalls,
    reasoningStart: start,
    structured: wishes.structured,
    showReasoning: wishes.showReasoning,
    fillsContent: wishes.fillsContent,
  });
}

/**
 * Where an answer begins: as the prompt leaves it, then as the request decided, then as the format does. `promptTail`: the
 * end of the prompt as text, special tokens included.
 */
export function reasoningStart(wishes: ParsingWishes, promptTail: string): ReasoningStart {
  const { reasoning } = wishes.formats;
  if (reasoning === null) return 'content';
  if (wishes.continuesReasoning !== null) return wishes.continuesReasoning ? 'inside' : 'content';
  const start = reasoningAfter(promptTail, reasoning);
  return start === 'format' && wishes.thinking === false ? 'content' : start;
}
