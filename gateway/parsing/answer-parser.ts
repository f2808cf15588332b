import { randomUUID } from 'node:crypto';
import type { OutputSink } from '#core/parsing/context.ts';
import { OutputParser, type ParserOptions } from '#core/parsing/output-parser.ts';
import type { AnswerPart } from './parts.ts';

export interface AnswerParserOptions extends ParserOptions {
  /** Whether reasoning is shown; it is recognised in any case. */
  readonly showReasoning: boolean;
  /** Whether reasoning becomes the content of an answer that has neither content nor calls. */
  readonly fillsContent: boolean;
}

/**
 * Splits one choice's text into parts, which wait here until they are taken: neighbours of a kind are one part, so that
 * what waits is never longer than the output. Calls without an id of the model's own get one.
 */
export class AnswerParser implements OutputSink {
  /** Output tokens after which the text was reasoning. */
  reasoningTokens = 0;
  /** Whole calls so far. */
  completeCalls = 0;
  /** Every call that began, under the identifier that its client knows. */
  readonly calls: { readonly id: string; readonly name: string }[] = [];
  readonly #parser: OutputParser;
  readonly #showReasoning: boolean;
  readonly #fillsContent: boolean;
  #parts: AnswerPart[] = [];
  #last: AnswerPart | null = null;
  /** Reasoning that may yet become content; null once there is content or a call. */
  #spare: string | null;

  constructor(o: AnswerParserOptions) {
    this.#showReasoning = o.showReasoning;
    this.#fillsContent = o.fillsContent;
    this.#spare = o.fillsContent ? '' : null;
    this.#parser = new OutputParser(o, this);
  }

  get hasParts(): boolean {
    return this.#last !== null;
  }

  /** Takes the text that one token completed; empty if none. */
  push(text: string): void {
    this.#parser.push(text);
    if (this.#parser.inReasoning) this.reasoningTokens++;
  }

  /** Takes text of tokens that were counted before. */
  append(text: string): void {
    this.#parser.push(text);
  }

  /** The text ended, wherever. */
  finish(): void {
    this.#parser.finish();
    const spare = this.#spare;
    if (!this.#fillsContent || spare === null || spare.trim() === '') return;
    this.content(spare);
  }

  take(): readonly AnswerPart[] {
    const parts = this.#parts;
    this.#parts = [];
    this.#last = null;
    return parts;
  }

  content(text: string): void {
    if (this.#spare !== null && text.trim() !== '') this.#spare = null;
    this.#text('content', text);
  }

  reasoning(text: string): void {
    if (this.#spare !== null) this.#spare += text;
    if (this.#showReasoning) this.#text('reasoning', text);
  }

  callStart(index: number, name: string, id: string | null): void {
    this.#spare = null;
    const call = { id: id ?? `call-${randomUUID()}`, name };
    this.calls.push(call);
    this.#add({ kind: 'call', index, ...call, arguments: '' });
  }

  callArguments(index: number, json: string): void {
    const last = this.#last;
    if (last !== null && (last.kind === 'call' || last.kind === 'arguments')) last.arguments += json;
    else this.#add({ kind: 'arguments', index, arguments: json });
  }

  callEnd(index: number, complete: boolean): void {
    if (complete) this.completeCalls++;
    this.#add({ kind: 'callEnd', index, complete });
  }

  #text(kind: 'content' | 'reasoning', text: string): void {
    const last = this.#last;
    if (last?.kind === kind) last.text += text;
    else this.#add({ kind, text });
  }

  #add(part: AnswerPart): void {
    this.#parts.push(part);
    this.#last = part;
  }
}
