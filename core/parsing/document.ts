import type { Context, ReasoningFormat, ToolFormat } from './context.ts';
import { readGuided } from './guided.ts';
import type { Step } from './input.ts';
import { Markers } from './markers.ts';
import { ended, ignore, nextUnit, readBefore, readUntil, takeMarker } from './read.ts';

/** What a marker in content begins. */
type Kind = 'reasoning' | 'call' | 'hidden' | 'header';

/** A pair of formats, compiled: shared by all answers that use them. */
export interface Grammar {
  readonly tool: ToolFormat | null;
  readonly reasoning: ReasoningFormat | null;
  readonly markers: Markers;
  readonly kinds: readonly Kind[];
  readonly opens: Markers;
  readonly closes: Markers;
  /** Of `closes`, how many are markup; the others begin calls, which are read as such. */
  readonly ownCloses: number;
}

export function compileGrammar(tool: ToolFormat | null, reasoning: ReasoningFormat | null): Grammar {
  const kinds = new Map<string, Kind>();
  const add = (markers: readonly string[] | undefined, kind: Kind): void => {
    for (const marker of markers ?? []) if (!kinds.has(marker)) kinds.set(marker, kind);
  };
  add(reasoning?.opens, 'reasoning');
  add(tool?.starts, 'call');
  add(tool?.headers, 'header');
  add(reasoning?.headers, 'header');
  add(tool?.hidden, 'hidden');
  add(reasoning?.hidden, 'hidden');
  const calls = reasoning?.endsAtCalls === true ? [...(tool?.starts ?? []), ...(tool?.sections ?? [])] : [];
  const closes = reasoning?.closes ?? [];
  return {
    tool,
    reasoning,
    markers: new Markers([...kinds.keys()]),
    kinds: [...kinds.values()],
    opens: new Markers(reasoning?.opens ?? []),
    closes: new Markers([...closes, ...calls]),
    ownCloses: closes.length,
  };
}

/** Where the answer begins: as the format says, inside reasoning because the prompt opened it, or in content. */
export type ReasoningStart = 'format' | 'inside' | 'content';

/** auto: calls in the model's own format; required and named: JSON that a grammar forces; none: no calls. */
export type ToolChoice =
  | { readonly mode: 'none' | 'auto' | 'required' }
  | { readonly mode: 'named'; readonly name: string };

export interface DocumentPlan {
  readonly grammar: Grammar;
  readonly reasoningStart: ReasoningStart;
  readonly toolChoice: ToolChoice;
  /** A grammar forces the answer to be JSON from its first token on, so that what begins as JSON is no reasoning. */
  readonly structured: boolean;
}

/** One whole answer: reasoning, content and calls in any order. */
export function* readDocument(c: Context, plan: DocumentPlan): Step<void> {
  const { grammar } = plan;
  if (grammar.reasoning?.prefix !== undefined) c.content(grammar.reasoning.prefix);
  if (beginsInReasoning(plan)) yield* firstReasoning(c, plan);
  let guided = plan.toolChoice.mode === 'required' || plan.toolChoice.mode === 'named';
  for (;;) {
    if (c.atStart && guided) guided = !(yield* readGuided(c, plan.toolChoice));
    else if (c.atStart && grammar.tool?.leading !== undefined) yield* readLeading(c, grammar.tool.leading);
    const index = yield* readUntil(c.input, grammar.markers, c.content);
    if (index === ended) return;
    yield* readMarked(c, grammar, index);
  }
}

/** Calls without markers, of which several may follow each other. */
function* readLeading(c: Context, leading: (c: Context) => Step<void>): Step<void> {
  let before: number;
  do {
    before = c.calls;
    yield* leading(c);
  } while (c.calls > before && !c.input.ended);
}

function* readMarked(c: Context, grammar: Grammar, index: number): Step<void> {
  const kind = grammar.kinds[index];
  if (kind === 'reasoning') yield* readReasoning(c, grammar);
  else if (kind === 'header') yield* readBefore(c.input, grammar.markers, ignore);
  else if (kind === 'call' && grammar.tool !== null) {
    yield* grammar.tool.block(c, grammar.markers.all[index] ?? '');
    c.input.dropRecord();
  }
}

function beginsInReasoning(plan: DocumentPlan): boolean {
  const { reasoning } = plan.grammar;
  if (reasoning === null || reasoning.closes.length === 0) return false;
  return plan.reasoningStart === 'inside' || (plan.reasoningStart === 'format' && reasoning.forced === true);
}

/** Reasoning without an opener, or with the one that the model wrote all the same. */
function* firstReasoning(c: Context, plan: DocumentPlan): Step<void> {
  const { input } = c;
  input.record();
  const unit = yield* nextUnit(input);
  const opened = (yield* takeMarker(input, plan.grammar.opens)) >= 0;
  const space = input.takeRecord();
  if (!opened) {
    // Engines that apply a grammar from the first token on leave no room for reasoning.
    if (plan.structured && (unit === 123 || unit === 91)) return c.content(space);
    c.reasoning(space);
  }
  yield* readReasoning(c, plan.grammar);
}

function* readReasoning(c: Context, grammar: Grammar): Step<void> {
  c.inReasoning = true;
  const index = yield* readBefore(c.input, grammar.closes, c.reasoning);
  if (index === ended) return;
  if (index < grammar.ownCloses) c.input.at += grammar.closes.all[index]?.length ?? 0;
  c.reasoningEnded();
}
