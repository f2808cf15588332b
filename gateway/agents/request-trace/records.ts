import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import type { Choice } from '../../pipeline/choice.ts';
import type { Generation } from '../../pipeline/generation.ts';
import { timingOf } from '../../pipeline/timing.ts';
import type { AgentFacts } from '../facts.ts';
import type { SessionNaming } from '../redact.ts';

const schema = 'dynamo.request.trace.v1';

/** A tool as a record tells of it. */
export interface ToolFacts {
  readonly tool_call_id: string;
  readonly tool_class?: string | undefined;
  readonly status: 'running' | 'succeeded' | 'error' | 'cancelled';
  readonly started_at_unix_ms?: number | undefined;
  readonly ended_at_unix_ms?: number | undefined;
  readonly duration_ms?: number | undefined;
  readonly output_tokens?: number | undefined;
  readonly output_bytes?: number | undefined;
  readonly tool_name_hash?: string | undefined;
  readonly error_type?: string | undefined;
}

export type ToolEventType = 'tool_start' | 'tool_end' | 'tool_error';

export interface ToolEvent {
  readonly type: ToolEventType;
  readonly unixMs: number;
  /** Who told: the gateway from the conversation, or the agent's own harness. */
  readonly origin: 'conversation' | 'harness';
  readonly sessionId: string;
  readonly parentSessionId: string;
  readonly tool: ToolFacts;
}

/** Whether a replay could send it again: one output, text only, with known blocks. */
export function isReplayable({ choices, prompt }: Generation): boolean {
  return choices.length === 1 && prompt.media.length === 0 && prompt.kvBlockSize > 0;
}

/**
 * One request as Dynamo's frontend records it, which `stator replay --trace-format dynamo` reads. What was said is not in
 * it: blocks of the prompt are hashes. A request without output is none that could be replayed, and has a name of its own.
 */
export function requestRecord(generation: Generation, naming: SessionNaming): { event: string; json: string } {
  const { request, prompt, decision, decodeDecision, outputTokens, times } = generation;
  const event = outputTokens > 0 ? 'request_end' : 'request_failed';
  const timing = timingOf(generation);
  const head = JSON.stringify({
    schema,
    event_type: event,
    event_time_unix_ms: round(timing.receivedUnixMs + timing.totalMs),
    event_source: 'dynamo',
    ...agentContext(request.agent, naming),
  });
  const worker = decodeDecision ?? decision;
  const facts = JSON.stringify({
    request_id: request.requestId,
    model: request.model.entry.name,
    ...(request.model.adapter === '' ? {} : { adapter: request.model.adapter }),
    input_tokens: prompt.tokenIds.length,
    output_tokens: outputTokens,
    cached_tokens: generation.cachedTokens,
    request_received_ms: round(timing.receivedUnixMs),
    prefill_wait_time_ms: rounded(timing.prefillWaitMs),
    prefill_time_ms: rounded(timing.prefillMs),
    ttft_ms: rounded(timing.firstTokenMs),
    total_time_ms: round(timing.totalMs),
    avg_itl_ms: outputTokens > 1 ? round((times.lastTokenMs - times.firstTokenMs) / (outputTokens - 1)) : undefined,
    kv_hit_rate: rounded(timing.kvHitRate),
    queue_depth: timing.routerQueueDepth ?? undefined,
    migrations: generation.migrations === 0 ? undefined : generation.migrations,
    priority: request.priority === 0 ? undefined : request.priority,
    worker:
      decision === null || worker === null
        ? undefined
        : {
            prefill_worker_id: decision.instanceId.toString(),
            prefill_dp_rank: decision.dataParallelRank,
            decode_worker_id: worker.instanceId.toString(),
            decode_dp_rank: worker.dataParallelRank,
          },
    finish_reason_metadata: finishOf(generation.choices[0], naming),
  });
  const hashes = unpackHashes(prompt.sequenceHashes).join(',');
  const replay = `{"trace_block_size":${prompt.kvBlockSize},"input_length":${prompt.tokenIds.length},"input_sequence_hashes":[${hashes}]}`;
  return { event, json: `${head.slice(0, -1)},"request":${facts.slice(0, -1)},"replay":${replay}}}` };
}

export function toolRecord(
  { type, unixMs, origin, sessionId, parentSessionId, tool }: ToolEvent,
  naming: SessionNaming,
): string {
  const context = sessionId === '' ? {} : { agent_context: contextOf(sessionId, parentSessionId, naming) };
  const source = origin === 'harness' ? 'harness' : 'dynamo';
  return JSON.stringify({
    ...{ schema, event_type: type, event_time_unix_ms: round(unixMs), event_source: source },
    ...context,
    tool,
  });
}

function agentContext({ identity, trigger }: AgentFacts, naming: SessionNaming): object {
  if (identity === null) return {};
  const { sessionId, parentSessionId, isFinal } = identity;
  const context = contextOf(sessionId, parentSessionId, naming);
  return { agent_context: { ...context, ...(isFinal ? { session_final: true } : {}), input_trigger: trigger } };
}

function contextOf(sessionId: string, parentSessionId: string, naming: SessionNaming): object {
  const parent = parentSessionId === '' ? {} : { parent_session_id: naming(parentSessionId) };
  return { session_id: naming(sessionId), ...parent };
}

/** Names of tools are content as much as sessions are secrets. */
function finishOf(choice: Choice | undefined, naming: SessionNaming): object | undefined {
  if (choice === undefined || choice.finish === null) return undefined;
  const { error } = choice.finish;
  const calls = choice.parser?.calls ?? [];
  return {
    finish_reason: error === null ? choice.finishReason : 'error',
    ...(error === null ? {} : { error: error.code }),
    ...(calls.length === 0
      ? {}
      : {
          tool_calls: calls.map(({ id, name }, index) => ({
            ...{ choice_index: 0, tool_call_index: index, id, name: naming(name) },
          })),
        }),
  };
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function rounded(value: number | null): number | undefined {
  return value === null ? undefined : round(value);
}
