import { linesOf } from './lines.ts';
import { Row } from './row.ts';
import { type PromptShape, plainRequest, type TraceRequest } from './trace-request.ts';

export interface AppliedComputeOptions {
  /** Part of each session's first prompt that it shares with its group, from 0 to 1. */
  readonly sharedPrefixRatio: number;
  /** Groups that sessions are dealt to in turn; 0: none share anything. */
  readonly prefixGroups: number;
}

/** Ids of one session lie apart by this; shared prefixes have the first ones. */
const idsPerSession = 2 ** 20;

/**
 * Each row is a session of an agent (Applied Compute's trie workloads): the prompt grows by what the model answered and what
 * the tool gave; a last answer ends it. The rows have no times: sessions begin as others end.
 */
export async function* readAppliedCompute(file: string, options: AppliedComputeOptions): AsyncGenerator<TraceRequest> {
  let session = 0;
  for await (const line of linesOf(file)) yield* requestsOf(Row.parse(file, line), session++, options);
}

function* requestsOf(
  row: Row,
  session: number,
  { sharedPrefixRatio, prefixGroups }: AppliedComputeOptions,
): Generator<TraceRequest> {
  const turns = row.required('num_turns', row.integer(['num_turns'], { min: 0 }));
  const first = row.required('input_prompt_length', row.integer(['input_prompt_length'], { min: 1 }));
  const answers = lengthsOf(row, 'assistant_response_length', turns, 1);
  const results = lengthsOf(row, 'tool_call_output_length', turns, 0);
  const seconds = lengthsOf(row, 'tool_call_latency', turns, 0);
  const last = row.integer(['final_assistant_response_length'], { min: 1 });
  if (turns + 1 > idsPerSession / 2) throw row.wrong('num_turns', `expected at most ${idsPerSession / 2 - 1}`);
  const base = (session + 1) * idsPerSession;
  const shared = prefixGroups > 0 ? Math.floor(first * sharedPrefixRatio) : 0;
  const runs: { id: number; length: number }[] = [];
  if (shared > 0) runs.push({ id: session % prefixGroups, length: shared });
  if (first > shared) runs.push({ id: base, length: first - shared });
  for (let turn = 0; turn <= turns; turn++) {
    const prompt = shapeOf(runs);
    const outputId = base + 2 * turn + 1;
    const outputTokens = answers[turn] ?? row.required('final_assistant_response_length', last);
    yield {
      ...plainRequest,
      line: row.line,
      sessionId: `${row.line}`,
      follows: 'session',
      delayMs: turn === 0 ? undefined : (seconds[turn - 1] ?? 0) * 1000,
      prompt,
      promptTokens: prompt.lengths.reduce((sum, length) => sum + length, 0),
      outputTokens,
      outputId,
    };
    runs.push({ id: outputId, length: outputTokens });
    const result = results[turn] ?? 0;
    if (result > 0) runs.push({ id: outputId + 1, length: result });
  }
}

function lengthsOf(row: Row, name: string, turns: number, min: number): number[] {
  const values = row.required(name, row.numbers(name, { min, whole: name !== 'tool_call_latency' }));
  if (values.length !== turns)
    throw row.wrong(name, `expected ${turns} values, one for each turn, got ${values.length}`);
  return values;
}

function shapeOf(runs: readonly { readonly id: number; readonly length: number }[]): PromptShape {
  return { ids: Float64Array.from(runs, ({ id }) => id), lengths: Uint32Array.from(runs, ({ length }) => length) };
}
