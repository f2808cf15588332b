import type { AnswerPlan } from '../api/translate/job.ts';
import type { Choice, ChoiceWorker } from '../pipeline/choice.ts';
import type { Generation } from '../pipeline/generation.ts';
import { type Timing, timingOf } from '../pipeline/timing.ts';
import { escapeJson } from '../sse/json-escape.ts';
import { renderPromptLogprobs } from './logprobs.ts';
import { renderRouting } from './routing.ts';

/** Fields of an `nvext` object: name to JSON. */
export type NvextFields = Map<string, string>;

/** What a choice stands at when its `nvext` is written. */
export interface NvextPlace {
  /** Whether it is the last choice of its prompt to end. */
  readonly endsPrompt: boolean;
  /** Whether it is the last choice of the whole answer to end. */
  readonly endsAnswer: boolean;
}

/**
 * What was asked for of a choice that has ended. A choice that migrated names its last worker. Prompt facts come with the
 * last choice of a prompt, timing with the last of the answer, so that folding chunks by "last wins" loses nothing; only
 * `completion_token_ids`, which is not here, concatenates.
 */
export function endFields(plan: AnswerPlan, generation: Generation, choice: Choice, place: NvextPlace): NvextFields {
  const fields: NvextFields = new Map();
  const asked: ReadonlySet<string> = plan.extraFields;
  if (asked.size === 0) return fields;
  const { prompt } = generation;
  if (asked.has('worker_id') && choice.worker !== null)
    fields.set('worker_id', renderWorkerIds(generation.prefillWorkerOf(choice) ?? choice.worker, choice.worker));
  if (asked.has('stop_reason')) fields.set('stop_reason', stopReason(choice));
  if (asked.has('detailed_finish_reason')) fields.set('detailed_finish_reason', detailedReason(generation, choice));
  if (place.endsPrompt && asked.has('prompt_token_ids'))
    fields.set('prompt_token_ids', `[${prompt.tokenIds.join(',')}]`);
  if (place.endsPrompt && asked.has('prompt_logprobs') && prompt.logprobs !== null)
    fields.set('prompt_logprobs', renderPromptLogprobs(prompt.logprobs, { tokens: prompt.tokens, asIds: false }));
  if (place.endsAnswer && asked.has('timing')) fields.set('timing', renderTiming(timingOf(generation)));
  return fields;
}

/** Output tokens of a choice from number `from` on, where they were asked for. */
export function tokenFields(plan: AnswerPlan, choice: Choice, from: number): NvextFields {
  if (!plan.extraFields.has('completion_token_ids') || from === choice.tokenIds.length) return new Map();
  return new Map([['completion_token_ids', `[${choice.tokenIds.slice(from).join(',')}]`]]);
}

/** The whole of an answer's `nvext`: its choices in order, the last word on each field. */
export function wholeFields(plan: AnswerPlan, generations: readonly Generation[]): NvextFields {
  const fields: NvextFields = new Map();
  if (plan.extraFields.has('completion_token_ids')) {
    const ids = generations.flatMap(({ choices }) => choices.flatMap(({ tokenIds }) => tokenIds));
    fields.set('completion_token_ids', `[${ids.join(',')}]`);
  }
  for (const generation of generations) {
    for (const choice of generation.choices) {
      const endsPrompt = choice === generation.choices.at(-1);
      const endsAnswer = endsPrompt && generation === generations.at(-1);
      for (const [name, json] of endFields(plan, generation, choice, { endsPrompt, endsAnswer }))
        fields.set(name, json);
    }
    const { decision, decodeDecision: decode, request, prompt } = generation;
    if (decision !== null && plan.explain)
      fields.set('routing', renderRouting(request.requestId, prompt, { decision, costs: decision.costs, decode }));
  }
  return fields;
}

/** The object as JSON. */
export function renderFields(fields: NvextFields): string {
  return `{${[...fields].map(([name, json]) => `"${name}":${json}`).join(',')}}`;
}

/** A rendered chunk with an `nvext`; the chunk as it is where there are no fields. */
export function withFields(chunk: string, fields: NvextFields): string {
  return fields.size === 0 ? chunk : `${chunk.slice(0, -'}\n\n'.length)},"nvext":${renderFields(fields)}}\n\n`;
}

/** The workers of a request; `null`: not asked for. Ids are decimal strings: JSON numbers above 2^53 are not exact. */
export function renderWorkerIds(prefill: ChoiceWorker | null, decode: ChoiceWorker | null): string {
  const fields = Object.entries({ prefill, decode }).flatMap(([phase, worker]) =>
    worker === null
      ? []
      : [`"${phase}_worker_id":"${worker.instanceId}","${phase}_dp_rank":${worker.dataParallelRank}`],
  );
  return `{${fields.join(',')}}`;
}

function stopReason({ finish }: Choice): string {
  const stopString = finish?.stopString ?? null;
  return stopString === null ? String(finish?.stopTokenId ?? null) : `"${escapeJson(stopString)}"`;
}

/** Dynamo's names: `eos` is the model's own end, `stop` what the client asked to stop at. */
function detailedReason({ request }: Generation, { finish }: Choice): string {
  if (finish === null || finish.reason !== 'stop') return `"${finish?.reason ?? 'stop'}"`;
  const { stopString, stopTokenId } = finish;
  const asked = stopString !== null || (stopTokenId !== null && request.stop.stopTokenIds.includes(stopTokenId));
  return asked ? '"stop"' : '"eos"';
}

/** Fields that nobody measured are left out. */
function renderTiming(timing: Timing): string {
  const fields: Record<string, number | null> = {
    request_received_ms: Math.round(timing.receivedUnixMs),
    prefill_wait_time_ms: rounded(timing.prefillWaitMs),
    prefill_time_ms: rounded(timing.prefillMs),
    ttft_ms: rounded(timing.firstTokenMs),
    handoff_time_ms: rounded(timing.handoffMs),
    total_time_ms: rounded(timing.totalMs),
    kv_hit_rate: timing.kvHitRate,
    router_queue_depth: timing.routerQueueDepth,
  };
  return JSON.stringify(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)));
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Number(ms.toFixed(3));
}
