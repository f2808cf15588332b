import { linesOf } from './lines.ts';
import { Row } from './row.ts';

/** An event of Chrome's trace format, as Perfetto reads it; times in microseconds. */
export interface TimelineEvent {
  readonly ph: 'M' | 'X' | 'b' | 'e';
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly id?: string;
  readonly args?: Readonly<Record<string, unknown>>;
}

/** Where a session is drawn: a process for each agent that nobody began, in it a thread for each session. */
interface Place {
  readonly pid: number;
  readonly tid: number;
}

const noSession = { pid: 1, tid: 1 };

/**
 * A request trace as a timeline: each turn with its wait, its prompt and its output, and the tools between. Throws
 * `invalid_argument` naming the line for what is no such trace.
 */
export async function* timelineOf(file: string): AsyncGenerator<TimelineEvent> {
  const places = new Map<string, Place>();
  let baseMs: number | undefined;
  for await (const line of linesOf(file)) {
    const outer = Row.parse(file, line);
    const record = outer.object('event') ?? outer;
    if (record.string('schema') !== 'dynamo.request.trace.v1')
      throw record.wrong('schema', `expected dynamo.request.trace.v1, got ${JSON.stringify(record.string('schema'))}`);
    const context = record.object('agent_context');
    const session = context?.string('session_id') ?? '';
    const known = places.has(session);
    const place = placeOf(places, session, context?.string('parent_session_id') ?? '');
    if (!known) yield* namesOf(place, session);
    const [request, tool] = [record.object('request'), record.object('tool')];
    baseMs ??= startOf(record, request, tool);
    if (request !== undefined) yield* turnOf(record, request, place, baseMs);
    else if (tool !== undefined) yield* toolOf(record, tool, place, baseMs);
  }
}

function startOf(record: Row, request: Row | undefined, tool: Row | undefined): number {
  const atMs = request?.number(['request_received_ms']) ?? tool?.number(['started_at_unix_ms']);
  return Math.floor(atMs ?? record.number(['event_time_unix_ms']) ?? 0);
}

function placeOf(places: Map<string, Place>, session: string, parent: string): Place {
  const found = places.get(session);
  if (found !== undefined) return found;
  const tid = places.size + 2;
  const place = session === '' ? noSession : { pid: places.get(parent)?.pid ?? tid, tid };
  places.set(session, place);
  return place;
}

function* namesOf({ pid, tid }: Place, session: string): Generator<TimelineEvent> {
  const name = session === '' ? 'without a session' : session;
  if (pid === tid) yield { ph: 'M', name: 'process_name', pid, tid, args: { name } };
  yield { ph: 'M', name: 'thread_name', pid, tid, args: { name } };
}

function* turnOf(record: Row, request: Row, place: Place, baseMs: number): Generator<TimelineEvent> {
  const number = (name: string): number => request.number([name], { min: 0 }) ?? 0;
  const receivedMs = request.required('request_received_ms', request.number(['request_received_ms'], { min: 0 }));
  const [totalMs, waitMs, prefillMs] = [
    number('total_time_ms'),
    number('prefill_wait_time_ms'),
    number('prefill_time_ms'),
  ];
  const args = {
    request_id: request.string('request_id'),
    model: request.string('model'),
    input_tokens: number('input_tokens'),
    cached_tokens: number('cached_tokens'),
    output_tokens: number('output_tokens'),
    finish_reason: request.object('finish_reason_metadata')?.string('finish_reason') ?? '',
  };
  const slice = (name: string, fromMs: number, durationMs: number, more: object = {}): TimelineEvent => ({
    ...{ ph: 'X', name, cat: 'request', ...place },
    ...{ ts: micros(fromMs - baseMs), dur: micros(durationMs) },
    ...more,
  });
  const isFailed = record.string('event_type') === 'request_failed';
  const name = isFailed ? 'failed' : `${args.input_tokens} → ${args.output_tokens}`;
  yield slice(name, receivedMs, totalMs, { args });
  if (prefillMs === 0) return;
  yield slice('wait', receivedMs, waitMs);
  yield slice('prefill', receivedMs + waitMs, prefillMs);
  yield slice('output', receivedMs + waitMs + prefillMs, Math.max(0, totalMs - waitMs - prefillMs));
}

/** Tools may run side by side, which threads cannot show: each is drawn on its own. Only its end says how long it took. */
function* toolOf(record: Row, tool: Row, place: Place, baseMs: number): Generator<TimelineEvent> {
  const type = record.string('event_type');
  const endMs = tool.number(['ended_at_unix_ms']) ?? record.number(['event_time_unix_ms']) ?? baseMs;
  const durationMs = tool.number(['duration_ms'], { min: 0 });
  if (type === 'tool_start' || durationMs === undefined) return;
  const id = tool.string('tool_call_id');
  const name = tool.string('tool_class') || tool.string('tool_name_hash') || 'tool';
  const event = { name, cat: 'tool', id, ...place };
  const args = { tool_call_id: id, status: tool.string('status'), error_type: tool.string('error_type') };
  yield { ph: 'b', ...event, ts: micros(endMs - durationMs - baseMs), args };
  yield { ph: 'e', ...event, ts: micros(endMs - baseMs) };
}

function micros(ms: number): number {
  return Math.round(ms * 1000);
}
