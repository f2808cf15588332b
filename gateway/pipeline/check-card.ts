import { GuidedMode, SamplingField, Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GenerationRequest, Guided, Sampling } from './request.ts';

const samplingFields: readonly (readonly [keyof Sampling, SamplingField, string])[] = [
  ['topP', SamplingField.TOP_P, 'top_p'],
  ['topK', SamplingField.TOP_K, 'top_k'],
  ['minP', SamplingField.MIN_P, 'min_p'],
  ['frequencyPenalty', SamplingField.FREQUENCY_PENALTY, 'frequency_penalty'],
  ['presencePenalty', SamplingField.PRESENCE_PENALTY, 'presence_penalty'],
  ['repetitionPenalty', SamplingField.REPETITION_PENALTY, 'repetition_penalty'],
  ['temperature', SamplingField.TEMPERATURE, 'temperature'],
  ['seed', SamplingField.SEED, 'seed'],
];

/** Values that change nothing, so that every engine honours them. */
const neutral: Partial<Record<keyof Sampling, readonly number[]>> = {
  topP: [1],
  topK: [0, -1],
  minP: [0],
  frequencyPenalty: [0],
  presencePenalty: [0],
  repetitionPenalty: [1],
  temperature: [1],
};

const guidedModes: Readonly<Record<Exclude<Guided['case'], undefined>, GuidedMode>> = {
  jsonSchema: GuidedMode.JSON_SCHEMA,
  regex: GuidedMode.REGEX,
  grammar: GuidedMode.GRAMMAR,
  choice: GuidedMode.CHOICE,
  jsonObject: GuidedMode.JSON_OBJECT,
  structuralTag: GuidedMode.STRUCTURAL_TAG,
};

/** What the client called the parts of its request. */
export interface FieldNames {
  readonly guided: string;
  readonly logprobs: string;
  /** Whether the client named a seed; the gateway chooses one only where the model honours it. */
  readonly seedGiven: boolean;
}

/** Refuses what the model's card does not promise, naming the field: nothing is silently ignored. */
export function checkCard(request: GenerationRequest, task: Task, names: FieldNames): void {
  const { card } = request.model.entry;
  const model = request.model.entry.name;
  const can = card.capabilities;
  const refuse = (field: string, what: string): never => {
    throw StatorError.unsupported(field, `\`${field}\` is not supported by the model \`${model}\`: ${what}`);
  };
  if (!(can?.tasks ?? []).includes(task))
    refuse('model', task === Task.CHAT ? 'it does not chat' : 'it does not complete text');
  const honoured = new Set(can?.samplingFields ?? []);
  for (const [key, field, name] of samplingFields) {
    const value = request.sampling[key];
    if (value === undefined || honoured.has(field) || (key === 'seed' && !names.seedGiven)) continue;
    if (typeof value === 'number' && neutral[key]?.includes(value)) continue;
    refuse(name, 'its engine does not honour it');
  }
  if (Object.keys(request.sampling.logitBias).length > 0 && !honoured.has(SamplingField.LOGIT_BIAS)) {
    refuse('logit_bias', 'its engine does not honour it');
  }
  const mostLogprobs = can?.maxTopLogprobs ?? 0;
  if (request.topLogprobs !== null && mostLogprobs === 0) refuse('logprobs', 'its engine gives no log-probabilities');
  if (request.topLogprobs !== null && request.topLogprobs > mostLogprobs) {
    refuse(names.logprobs, `its engine gives at most ${mostLogprobs} alternatives`);
  }
  if (request.promptLogprobs !== null && can?.promptLogprobs !== true) {
    refuse('prompt_logprobs', 'its engine gives no log-probabilities of the prompt');
  }
  const mode = request.guided?.case === undefined ? null : guidedModes[request.guided.case];
  if (mode !== null && !(can?.guidedModes ?? []).includes(mode))
    refuse(names.guided, 'its engine does not constrain output this way');
}
