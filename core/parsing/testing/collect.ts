import type { OutputSink, ToolSchema } from '../context.ts';
import type { ReasoningStart, ToolChoice } from '../document.ts';
import { OutputParser } from '../output-parser.ts';
import { findReasoningFormat, findToolFormat } from '../registry.ts';

export interface Answer {
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly Call[];
  /** Kinds of the parts in their order, neighbours of one kind joined. */
  readonly order: string;
}

export interface Call {
  readonly name: string;
  readonly id: string | null;
  readonly arguments: string;
  readonly complete: boolean;
}

export interface Setup {
  readonly tool?: string;
  readonly reasoning?: string;
  readonly tools?: readonly ToolSchema[];
  readonly choice?: ToolChoice;
  readonly parallel?: boolean;
  readonly start?: ReasoningStart;
  readonly structured?: boolean;
}

/** Collects an answer, and refuses events that contradict each other. */
export class Collector implements OutputSink {
  #content = '';
  #reasoning = '';
  #order = '';
  #open = false;
  readonly #calls: { name: string; id: string | null; arguments: string; complete: boolean }[] = [];

  content(text: string): void {
    this.#text('T', text);
    this.#content += text;
  }

  reasoning(text: string): void {
    this.#text('R', text);
    this.#reasoning += text;
  }

  callStart(index: number, name: string, id: string | null): void {
    if (this.#open || index !== this.#calls.length) throw new Error(`call ${index} begins out of order`);
    if (name === '') throw new Error('a call without a name');
    this.#open = true;
    this.#order += 'C';
    this.#calls.push({ name, id, arguments: '', complete: false });
  }

  callArguments(index: number, json: string): void {
    const call = this.#calls[index];
    if (!this.#open || call === undefined || index !== this.#calls.length - 1 || json === '') {
      throw new Error('arguments outside of their call');
    }
    call.arguments += json;
  }

  callEnd(index: number, complete: boolean): void {
    const call = this.#calls[index];
    if (!this.#open || call === undefined || index !== this.#calls.length - 1) throw new Error('an end without a call');
    this.#open = false;
    call.complete = complete;
    if (complete) JSON.parse(call.arguments);
  }

  answer(): Answer {
    if (this.#open) throw new Error('a call was left open');
    return { content: this.#content, reasoning: this.#reasoning, calls: this.#calls, order: this.#order };
  }

  #text(kind: string, text: string): void {
    if (this.#open) throw new Error('text inside a call');
    if (text === '') throw new Error('an empty piece');
    if (!this.#order.endsWith(kind)) this.#order += kind;
  }
}

export function createParser(setup: Setup, sink: OutputSink): OutputParser {
  const tool = setup.tool === undefined ? null : findToolFormat(setup.tool);
  const reasoning = setup.reasoning === undefined ? null : findReasoningFormat(setup.reasoning);
  if (tool === undefined || reasoning === undefined) throw new Error(`unknown format ${setup.tool}/${setup.reasoning}`);
  return new OutputParser(
    {
      toolFormat: tool,
      reasoningFormat: reasoning,
      tools: setup.tools ?? [],
      toolChoice: setup.choice ?? { mode: 'auto' },
      parallelToolCalls: setup.parallel ?? true,
      reasoningStart: setup.start ?? 'format',
      structured: setup.structured ?? false,
    },
    sink,
  );
}

export function parsePieces(setup: Setup, pieces: readonly string[]): Answer {
  const collector = new Collector();
  const parser = createParser(setup, collector);
  for (const piece of pieces) parser.push(piece);
  parser.finish();
  return collector.answer();
}

/** The text whole, cut in two at every place, unit by unit, and cut at random: every result that differs from the first. */
export function parseEveryWay(
  setup: Setup,
  text: string,
  random: () => number,
): { whole: Answer; differing: string[] } {
  const whole = parsePieces(setup, [text]);
  const expected = JSON.stringify(whole);
  const differing: string[] = [];
  const compare = (pieces: readonly string[]): void => {
    const got = JSON.stringify(parsePieces(setup, pieces));
    if (got !== expected) differing.push(`${JSON.stringify(pieces)} gave ${got}, whole ${expected}`);
  };
  for (let at = 1; at < text.length; at++) compare([text.slice(0, at), text.slice(at)]);
  compare(text.split(''));
  for (let round = 0; round < 10; round++) compare(cut(text, random));
  return { whole, differing };
}

export function cut(text: string, random: () => number, meanLength = 4): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    const to = at + 1 + Math.floor(random() * 2 * meanLength);
    pieces.push(text.slice(at, to));
    at = to;
  }
  return pieces;
}

/** A small generator of uniform numbers (mulberry32), for tests that must repeat. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
