import { inOrder } from './in-order.ts';
import { linesOf } from './lines.ts';
import { Row } from './row.ts';
import { plainRequest, shapeOfBlocks, type TraceRequest } from './trace-request.ts';

const schema = 'dynamo.request.trace.v1';

interface Recorded extends TraceRequest {
  /** When it was over, on the clock of its arrival. */
  readonly endMs: number;
}

/**
 * Records of served requests, as our gateway and Dynamo's frontend write them (bare, or wrapped with a timestamp). Those that
 * name the session of an agent are sent after the one before them in their session and the time that the agent then took.
 * `model`: only its records; empty: all.
 */
export async function* readRequestTrace(file: string, model: string): AsyncGenerator<TraceRequest> {
  const ends = new Map<string, number>();
  for await (const { endMs, ...request } of inOrder(file, recordsOf(file, model))) {
    const { sessionId, arrivalMs = 0 } = request;
    const before = ends.get(sessionId);
    if (sessionId !== '') ends.set(sessionId, endMs);
    yield before === undefined || sessionId === '' ? request : { ...request, delayMs: Math.max(0, arrivalMs - before) };
  }
}

async function* recordsOf(file: string, model: string): AsyncGenerator<Recorded> {
  let blockTokens: number | undefined;
  for await (const line of linesOf(file)) {
    const outer = Row.parse(file, line, true);
    const record = outer.object('event') ?? outer;
    if (record.string('schema') !== schema)
      throw record.wrong('schema', `expected ${schema}, got ${JSON.stringify(record.string('schema'))}`);
    const kind = record.string('event_type');
    if (kind !== '' && kind !== 'request_end') continue;
    const request = record.required('request', record.object('request'));
    if (model !== '' && request.string('model') !== model) continue;
    const replay = request.required('replay', request.object('replay'));
    const size = replay.required('trace_block_size', replay.integer(['trace_block_size'], { min: 1 }));
    blockTokens ??= size;
    if (size !== blockTokens)
      throw replay.wrong('trace_block_size', `expected ${blockTokens} as in the rows before, got ${size}`);
    const sessionId = record.object('agent_context')?.string('session_id') ?? '';
    yield recorded(record, request, { sessionId, blockTokens });
  }
}

function recorded(
  record: Row,
  request: Row,
  o: { readonly sessionId: string; readonly blockTokens: number },
): Recorded {
  const { sessionId, blockTokens } = o;
  const replay = request.required('replay', request.object('replay'));
  const promptTokens = replay.required('input_length', replay.integer(['input_length'], { min: 1 }));
  const ids = replay.required('input_sequence_hashes', replay.hashes('input_sequence_hashes'));
  const blocks = Math.ceil(promptTokens / blockTokens);
  if (ids.length !== blocks && ids.length !== Math.floor(promptTokens / blockTokens))
    throw replay.wrong(
      'input_sequence_hashes',
      `${promptTokens} tokens fill ${blocks} blocks of ${blockTokens}, got ${ids.length}`,
    );
  const arrivalMs = request.required('request_received_ms', request.number(['request_received_ms'], { min: 0 }));
  const tookMs = request.number(['total_time_ms'], { min: 0 });
  const endMs = tookMs === undefined ? record.number(['event_time_unix_ms'], { min: 0 }) : arrivalMs + tookMs;
  return {
    ...plainRequest,
    line: record.line,
    requestId: request.string('request_id'),
    sessionId,
    follows: sessionId === '' ? 'nothing' : 'session',
    arrivalMs,
    prompt: shapeOfBlocks(ids, blockTokens, promptTokens, -record.line),
    promptTokens,
    outputTokens: request.required('output_tokens', request.integer(['output_tokens'], { min: 1 })),
    endMs: record.required('event_time_unix_ms', endMs),
  };
}
