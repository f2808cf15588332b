import type { AnswerPlan } from '../api/translate/job.ts';
import type { DryRun, RoutingPhase } from '../pipeline/dry-run.ts';
import { escapeJson } from '../sse/json-escape.ts';
import { renderAnnotations } from './annotations.ts';
import { ChunkFormat, doneEvent } from './chunk-format.ts';
import { type NvextFields, renderFields, renderWorkerIds, withFields } from './nvext.ts';
import { renderRouting } from './routing.ts';
import { renderUsage } from './usage.ts';

/** A request that was routed and not run. */
export interface DryRunAnswer {
  readonly requestId: string;
  readonly phase: RoutingPhase;
  readonly dryRun: DryRun;
}

/** The answer as a stream: one chunk without choices. */
export function renderDryRunStream(plan: AnswerPlan, answer: DryRunAnswer): string {
  const { requestId, dryRun } = answer;
  const format = new ChunkFormat(plan);
  const chunk = withFields(format.empty(), fieldsOf(answer));
  const usage = plan.stream.includeUsage ? format.usage(usageOf(dryRun)) : '';
  return renderAnnotations(plan, requestId, dryRun.prompt, dryRun) + chunk + usage + doneEvent;
}

/** The answer as a whole: no choices, and `nvext` with the worker and the prompt's tokens. */
export function renderDryRun(plan: AnswerPlan, answer: DryRunAnswer): string {
  const { requestId, dryRun } = answer;
  const object = plan.kind === 'chat' ? 'chat.completion' : 'text_completion';
  const fields = fieldsOf(answer);
  if (plan.explain) fields.set('routing', renderRouting(requestId, dryRun.prompt, dryRun));
  return (
    `{"id":"${plan.id}","object":"${object}","created":${plan.createdUnix},"model":"${escapeJson(plan.model)}",` +
    `"system_fingerprint":"${plan.fingerprint}","choices":[],"usage":${usageOf(dryRun)},"nvext":${renderFields(fields)}}`
  );
}

function fieldsOf({ dryRun, phase }: DryRunAnswer): NvextFields {
  const prefill = phase === 'decode' ? null : dryRun.decision;
  const decode = phase === 'prefill' ? null : (dryRun.decode ?? dryRun.decision);
  return new Map([
    ['worker_id', renderWorkerIds(prefill, decode)],
    ['token_ids', `[${dryRun.prompt.tokenIds.join(',')}]`],
  ]);
}

function usageOf({ prompt }: DryRun): string {
  return renderUsage({ promptTokens: prompt.tokenIds.length, outputTokens: 0, cachedTokens: 0, reasoningTokens: 0 });
}
