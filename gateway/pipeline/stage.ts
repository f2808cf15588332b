import { roleOf } from '#core/models/model-sets.ts';
import { type Serving, servingOf } from '#core/models/serving.ts';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import type { RouteDecision } from '#gen/stator/router/v1/router_pb.ts';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import type { ChoiceWorker } from './choice.ts';
import type { GenerationRequest } from './request.ts';

/**
 * What is asked of one worker: `whole` a prompt and its output, `prefill` the prompt and a first token, `decode` the rest
 * of the output from KV that a prefill worker holds.
 */
export interface Stage {
  readonly kind: 'whole' | 'prefill' | 'decode';
  /** Role asked of the router. */
  readonly role: WorkerRole;
  /** Of a decode stage: who computed the prompt. */
  readonly prefill: ChoiceWorker | null;
}

export const stages = {
  whole: { kind: 'whole', role: WorkerRole.UNSPECIFIED, prefill: null },
  /** A decode worker that computes the prompt itself. */
  alone: { kind: 'whole', role: WorkerRole.DECODE, prefill: null },
  prefill: { kind: 'prefill', role: WorkerRole.PREFILL, prefill: null },
  decode: { kind: 'decode', role: WorkerRole.DECODE, prefill: null },
} as const satisfies Record<string, Stage>;

const stageOfForm: Readonly<Record<Serving, Stage>> = {
  apart: stages.prefill,
  whole: stages.whole,
  decode: stages.alone,
};

/** How a prompt may be begun, by who serves the model; nobody: the router says what is wrong. */
export function promptStages(serving: readonly Serving[]): readonly Stage[] {
  return serving.length === 0 ? [stages.whole] : serving.map((form) => stageOfForm[form]);
}

/** Whether the output may go on in its middle, on another worker: constraints can only where the engine reads what came before. */
export function mayResume({ guided, model }: Pick<GenerationRequest, 'guided' | 'model'>): boolean {
  return guided === null || model.entry.card.capabilities?.guidedResume === true;
}

/** How a request may be begun now, the best way first. */
export function firstStages(request: GenerationRequest): readonly Stage[] {
  const { routing, model } = request;
  const pinned = routing.instanceId === null ? undefined : model.entry.workers.get(routing.instanceId);
  if (pinned !== undefined && roleOf(pinned.card) === WorkerRole.AGGREGATED) return [stages.whole];
  return promptStages(servingOf(model.entry).filter((form) => form !== 'apart' || mayResume(request)));
}

export function decodeAfter(prefill: ChoiceWorker): Stage {
  return { ...stages.decode, prefill };
}

/** The stage that a decision made of the one it was asked for: a decode worker may be told to compute the prompt itself. */
export function settledStage(asked: Stage, { role }: Pick<RouteDecision, 'role'>): Stage {
  return asked.kind === 'prefill' && role === WorkerRole.DECODE ? stages.alone : asked;
}

/** Makes a request for a whole answer one for a stage of it. `handoff`: where the prompt's KV is. */
export function forStage(request: GenerateRequest, stage: Stage, handoff: KvHandoff | undefined): GenerateRequest {
  // A single token needs nobody to go on.
  request.prefillOnly = stage.kind === 'prefill' && (request.stop?.maxTokens ?? 2) > 1;
  if (handoff !== undefined) request.handoff = handoff;
  return request;
}
