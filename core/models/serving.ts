import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { type ModelSet, roleOf, takesWork } from './model-sets.ts';

/**
 * Who runs a model's requests now: `apart` prefill and decode workers, `whole` aggregated workers, `decode` workers that
 * compute prompts themselves because nobody else is left.
 */
export type Serving = 'apart' | 'whole' | 'decode';

/** In the order in which they are tried: with nothing else gone wrong the first. */
export function servingOf(set: Pick<ModelSet, 'workers'>): readonly Serving[] {
  const present = new Set<WorkerRole>();
  for (const { instance, card } of set.workers.values()) if (takesWork(instance)) present.add(roleOf(card));
  const decodes = present.has(WorkerRole.DECODE);
  const forms: Serving[] = [];
  if (decodes && present.has(WorkerRole.PREFILL)) forms.push('apart');
  if (present.has(WorkerRole.AGGREGATED)) forms.push('whole');
  if (decodes) forms.push('decode');
  return forms;
}

/** Whether prompts are computed by other workers than outputs. */
export function servesApart(set: Pick<ModelSet, 'workers'>): boolean {
  return servingOf(set)[0] === 'apart';
}
