import { linesOf } from './lines.ts';
import { Row } from './row.ts';
import { joinShapes, type PromptShape, plainRequest, shapeOfBlocks, type TraceRequest } from './trace-request.ts';

export interface BlockTraceOptions {
  /** Tokens that one id stands for. */
  readonly blockTokens: number;
}

/** Each row is one whole prompt; rows of one session follow each other. */
export async function* readMooncake(file: string, { blockTokens }: BlockTraceOptions): AsyncGenerator<TraceRequest> {
  for await (const line of linesOf(file)) yield requestOf(Row.parse(file, line), blockTokens);
}

/** Each row has what its session's prompt grows by. Holds the prompt of every session. */
export async function* readMooncakeDelta(
  file: string,
  { blockTokens }: BlockTraceOptions,
): AsyncGenerator<TraceRequest> {
  const sessions = new Map<string, PromptShape>();
  for await (const line of linesOf(file)) {
    const row = Row.parse(file, line);
    const delta = requestOf(row, blockTokens);
    row.required('session_id', delta.sessionId || undefined);
    const before = sessions.get(delta.sessionId);
    const prompt = before === undefined ? delta.prompt : joinShapes(before, delta.prompt);
    sessions.set(delta.sessionId, prompt);
    yield { ...delta, prompt, promptTokens: prompt.lengths.reduce((sum, length) => sum + length, 0) };
  }
}

/** Each row is a step of a workflow: it waits for others by their `request_id`. */
export async function* readAgenticMooncake(
  file: string,
  { blockTokens }: BlockTraceOptions,
): AsyncGenerator<TraceRequest> {
  for await (const line of linesOf(file)) {
    const row = Row.parse(file, line);
    const request = requestOf(row, blockTokens);
    const requestId = row.required('request_id', row.string('request_id') || undefined);
    const waitFor = row.strings('wait_for');
    if (waitFor.includes(requestId)) throw row.wrong('wait_for', 'a request cannot wait for itself');
    if (waitFor.length === 0) row.required('timestamp', request.arrivalMs);
    // What follows from these is in the other rows' wait_for.
    row.strings('branches');
    row.boolean('prefix_reset');
    const toolMs = row.number(['tool_wait_ms'], { min: 0 }) ?? 0;
    yield {
      ...request,
      requestId,
      waitFor,
      follows: waitFor.length === 0 ? 'nothing' : 'requests',
      delayMs: (request.delayMs ?? 0) + toolMs,
    };
  }
}

function requestOf(row: Row, blockTokens: number): TraceRequest {
  const ids = row.required('hash_ids', row.numbers('hash_ids', { min: 0, whole: true }));
  const stated = row.integer(['input_length', 'input_tokens'], { min: 1 });
  const promptTokens = stated ?? ids.length * blockTokens;
  if (promptTokens === 0) throw row.wrong('hash_ids', 'a prompt needs at least one block or an input_length');
  const blocks = Math.ceil(promptTokens / blockTokens);
  if (ids.length > blocks)
    throw row.wrong(
      'hash_ids',
      `${promptTokens} tokens fill ${blocks} blocks of ${blockTokens}, but ${ids.length} ids`,
    );
  const outputTokens = row.integer(['output_length', 'output_tokens'], { min: 1 });
  const sessionId = row.string('session_id');
  return {
    ...plainRequest,
    line: row.line,
    sessionId,
    follows: sessionId === '' ? 'nothing' : 'session',
    arrivalMs: row.number(['timestamp', 'created_time'], { min: 0 }),
    delayMs: row.number(['delay', 'delay_ms'], { min: 0 }),
    prompt: shapeOfBlocks(ids, blockTokens, promptTokens, -row.line),
    promptTokens,
    outputTokens: row.required('output_length', outputTokens),
    priority: row.integer(['priority']) ?? 0,
    strictPriority: row.integer(['strict_priority'], { min: 0, max: 2 ** 32 - 1 }) ?? 0,
    policyClass: row.string('policy_class'),
  };
}
