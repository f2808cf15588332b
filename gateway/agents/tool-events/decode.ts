import { MsgpackReader } from '#core/kv-events/msgpack-reader.ts';
import type { ToolEvent, ToolEventType, ToolFacts } from '../request-trace/records.ts';

const schema = 'dynamo.request.trace.v1';
const types: readonly string[] = ['tool_start', 'tool_end', 'tool_error'] satisfies ToolEventType[];

const statuses: Readonly<Record<string, ToolFacts['status']>> = {
  running: 'running',
  succeeded: 'succeeded',
  ok: 'succeeded',
  success: 'succeeded',
  error: 'error',
  failed: 'error',
  timeout: 'error',
  cancelled: 'cancelled',
  canceled: 'cancelled',
};

/** Most bytes of a message, and of any text in it. */
const mostBytes = 64 * 1024;
const mostText = 256;

type Scalar = string | number | boolean | null;

/**
 * What an agent's harness tells of a tool, as Dynamo's clients push it: MessagePack of a map. Throws an Error that says
 * what is wrong; unknown keys are passed over.
 */
export function decodeToolEvent(bytes: Uint8Array): ToolEvent {
  if (bytes.length > mostBytes)
    throw new Error(`a message has at most ${mostBytes} bytes, this one has ${bytes.length}`);
  const reader = new MsgpackReader(bytes);
  const event = new Map<string, Scalar>();
  const tool = new Map<string, Scalar>();
  readMap(reader, event, (key) => {
    if (key !== 'tool') return false;
    readMap(reader, tool, () => false);
    return true;
  });
  if (text(event, 'schema') !== schema) throw new Error(`schema is not ${schema}`);
  const type = text(event, 'event_type') ?? '';
  if (!types.includes(type)) throw new Error(`event_type is none of ${types.join(', ')}`);
  const sessionId = text(event, 'session_id') ?? '';
  if (sessionId === '') throw new Error('session_id is missing');
  return {
    type: type as ToolEventType,
    unixMs: required(number(event, 'event_time_unix_ms'), 'event_time_unix_ms'),
    origin: 'harness',
    sessionId,
    parentSessionId: text(event, 'parent_session_id') ?? '',
    tool: toolOf(tool),
  };
}

function toolOf(tool: ReadonlyMap<string, Scalar>): ToolFacts {
  const status = statuses[(text(tool, 'status') ?? '').toLowerCase()];
  if (status === undefined) throw new Error('tool.status is missing or unknown');
  return {
    tool_call_id: required(text(tool, 'tool_call_id'), 'tool.tool_call_id'),
    tool_class: text(tool, 'tool_class'),
    status,
    started_at_unix_ms: number(tool, 'started_at_unix_ms'),
    ended_at_unix_ms: number(tool, 'ended_at_unix_ms'),
    duration_ms: number(tool, 'duration_ms'),
    output_tokens: number(tool, 'output_tokens'),
    output_bytes: number(tool, 'output_bytes'),
    tool_name_hash: text(tool, 'tool_name_hash'),
    error_type: text(tool, 'error_type'),
  };
}

/** Reads the scalars of a map; `special` may take a value itself. */
function readMap(reader: MsgpackReader, into: Map<string, Scalar>, special: (key: string) => boolean): void {
  const entries = reader.map();
  for (let index = 0; index < entries; index++) {
    const key = reader.string();
    if (!special(key)) into.set(key, readScalar(reader));
  }
}

function readScalar(reader: MsgpackReader): Scalar {
  switch (reader.kind()) {
    case 'string':
      return reader.string();
    case 'integer':
    case 'float':
      return reader.number();
    case 'boolean':
      return reader.boolean();
    default:
      reader.skip();
      return null;
  }
}

function text(map: ReadonlyMap<string, Scalar>, key: string): string | undefined {
  const value = map.get(key) ?? undefined;
  if (value === undefined) return undefined;
  // Hashes may be numbers.
  const found = typeof value === 'number' ? String(value) : value;
  if (typeof found !== 'string' || Buffer.byteLength(found) > mostText)
    throw new Error(`${key} is no text of at most ${mostText} bytes`);
  return found;
}

function number(map: ReadonlyMap<string, Scalar>, key: string): number | undefined {
  const value = map.get(key) ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw new Error(`${key} is no number from 0 on`);
  return value;
}

function required<T>(value: T | undefined, key: string): T {
  if (value === undefined) throw new Error(`${key} is missing`);
  return value;
}
