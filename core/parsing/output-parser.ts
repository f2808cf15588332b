import { Context, type OutputSink, type ReasoningFormat, type ToolFormat, type ToolSchema } from './context.ts';
import { type ReasoningStart, readDocument, type ToolChoice } from './document.ts';
import type { Step } from './input.ts';
import { grammarOf } from './registry.ts';

export interface ParserOptions {
  readonly toolFormat: ToolFormat | null;
  readonly reasoningFormat: ReasoningFormat | null;
  readonly tools: readonly ToolSchema[];
  readonly toolChoice: ToolChoice;
  /** False: only the first call is reported. */
  readonly parallelToolCalls: boolean;
  readonly reasoningStart: ReasoningStart;
  /** A grammar forces the answer to be JSON from its first token on: calls that are forced, too. */
  readonly structured: boolean;
}

/**
 * Splits one answer into content, reasoning and calls as it is generated. The result is the same however the text is cut
 * into pieces. Text is withheld only while it may be markup, white space also while a call may follow it.
 */
export class OutputParser {
  readonly #context: Context;
  readonly #step: Step<void>;
  #finished = false;

  constructor(o: ParserOptions, sink: OutputSink) {
    const takesCalls = o.toolChoice.mode !== 'none';
    this.#context = new Context(sink, { tools: o.tools, parallel: o.parallelToolCalls, takesCalls });
    const tool = o.toolChoice.mode === 'none' ? null : o.toolFormat;
    this.#step = readDocument(this.#context, {
      grammar: grammarOf(tool, o.reasoningFormat),
      reasoningStart: o.reasoningStart,
      toolChoice: o.toolChoice,
      structured: o.structured,
    });
    this.#step.next();
    this.#context.flush();
  }

  push(text: string): void {
    if (text === '' || this.#finished) return;
    const { input } = this.#context;
    input.push(text);
    if (input.pump === null || !input.pump()) this.#step.next();
    this.#context.flush();
  }

  /** The answer ended: what was withheld goes out, an open call ends incomplete. */
  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#context.input.end();
    this.#step.next();
    this.#context.finish();
  }

  /** Whether the text that came last is reasoning, for counting its tokens. */
  get inReasoning(): boolean {
    return this.#context.inReasoning;
  }

  /** Calls so far, hidden ones included. */
  get calls(): number {
    return this.#context.calls;
  }

  /** Whether a call was cut off or its arguments were no JSON. */
  get incomplete(): boolean {
    return this.#context.incomplete;
  }

  /** UTF-16 units looked at, again or for the first time. */
  get work(): number {
    return this.#context.input.work;
  }
}
