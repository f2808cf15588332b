/** A piece of an answer in its order. A call's pieces follow each other: `call`, `arguments` as often as they come, `callEnd`. */
export type AnswerPart = TextPart | CallPart | ArgumentsPart | CallEndPart;

export interface TextPart {
  readonly kind: 'content' | 'reasoning';
  text: string;
}

export interface CallPart {
  readonly kind: 'call';
  /** Place among the calls of the choice. */
  readonly index: number;
  readonly id: string;
  readonly name: string;
  /** JSON text of the arguments as far as it came together with the name. */
  arguments: string;
}

export interface ArgumentsPart {
  readonly kind: 'arguments';
  readonly index: number;
  arguments: string;
}

export interface CallEndPart {
  readonly kind: 'callEnd';
  readonly index: number;
  /** Whether the arguments are one whole JSON text. */
  readonly complete: boolean;
}

/** A call as a whole. */
export interface AnsweredCall {
  readonly id: string;
  readonly name: string;
  arguments: string;
  complete: boolean;
}

/** An answer as a whole. */
export interface FoldedAnswer {
  content: string;
  reasoning: string;
  readonly calls: AnsweredCall[];
}

export function foldParts(parts: readonly AnswerPart[]): FoldedAnswer {
  const folded: FoldedAnswer = { content: '', reasoning: '', calls: [] };
  for (const part of parts) addPart(folded, part);
  return folded;
}

function addPart(to: FoldedAnswer, part: AnswerPart): void {
  const call = to.calls.at(-1);
  if (part.kind === 'content') to.content += part.text;
  else if (part.kind === 'reasoning') to.reasoning += part.text;
  else if (part.kind === 'call')
    to.calls.push({ id: part.id, name: part.name, arguments: part.arguments, complete: false });
  else if (call === undefined) return;
  else if (part.kind === 'arguments') call.arguments += part.arguments;
  else if (part.kind === 'callEnd') call.complete = part.complete;
}
