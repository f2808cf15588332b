import type { SamplingParams } from '#gen/stator/engine/v1/generate_pb.ts';
import { type ModelCard, SamplingField } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

interface Rule {
  readonly key: 'temperature' | 'topP' | 'topK' | 'minP' | 'frequencyPenalty' | 'presencePenalty' | 'repetitionPenalty';
  readonly name: string;
  readonly field: SamplingField;
  readonly min: number;
  readonly max: number;
  /** Whether `min` itself is refused. */
  readonly above?: boolean;
  /** Values that change nothing, which every engine honours. */
  readonly neutral: readonly number[];
}

const most = Number.POSITIVE_INFINITY;
const rules: readonly Rule[] = [
  { key: 'temperature', name: 'temperature', field: SamplingField.TEMPERATURE, min: 0, max: most, neutral: [1] },
  { key: 'topP', name: 'top_p', field: SamplingField.TOP_P, min: 0, max: 1, above: true, neutral: [1] },
  { key: 'topK', name: 'top_k', field: SamplingField.TOP_K, min: -1, max: most, neutral: [0, -1] },
  { key: 'minP', name: 'min_p', field: SamplingField.MIN_P, min: 0, max: 1, neutral: [0] },
  {
    key: 'frequencyPenalty',
    name: 'frequency_penalty',
    field: SamplingField.FREQUENCY_PENALTY,
    min: -2,
    max: 2,
    neutral: [0],
  },
  {
    key: 'presencePenalty',
    name: 'presence_penalty',
    field: SamplingField.PRESENCE_PENALTY,
    min: -2,
    max: 2,
    neutral: [0],
  },
  {
    key: 'repetitionPenalty',
    name: 'repetition_penalty',
    field: SamplingField.REPETITION_PENALTY,
    min: 0,
    max: 2,
    above: true,
    neutral: [1],
  },
];

/** Checks ranges, and that the engine honours every field that is not neutral. */
export function checkSampling(sampling: SamplingParams | undefined, card: ModelCard): void {
  if (sampling === undefined) return;
  const honoured = card.capabilities?.samplingFields ?? [];
  for (const rule of rules) checkRule(rule, sampling[rule.key], honoured, card.name);
  if (sampling.seed !== undefined) requireField('seed', SamplingField.SEED, honoured, card.name);
  const biases = Object.entries(sampling.logitBias);
  if (biases.length === 0) return;
  requireField('logit_bias', SamplingField.LOGIT_BIAS, honoured, card.name);
  const vocabulary = card.tokenizer?.vocabSize ?? 0;
  for (const [tokenId, bias] of biases) {
    const field = `sampling.logit_bias[${tokenId}]`;
    if (!(bias >= -100 && bias <= 100)) throw StatorError.invalid(field, `${field} must be from -100 to 100`);
    if (vocabulary > 0 && Number(tokenId) >= vocabulary)
      throw StatorError.invalid(field, `token id ${tokenId} is beyond the vocabulary of ${vocabulary} tokens`);
  }
}

function checkRule(rule: Rule, value: number | undefined, honoured: readonly SamplingField[], model: string): void {
  if (value === undefined) return;
  const field = `sampling.${rule.name}`;
  const low = rule.above === true ? value > rule.min : value >= rule.min;
  if (!low || !(value <= rule.max) || !Number.isFinite(value)) {
    const bounds = `${rule.above === true ? 'above' : 'at least'} ${rule.min}${rule.max === most ? '' : ` and at most ${rule.max}`}`;
    throw StatorError.invalid(field, `${field} must be ${bounds}`);
  }
  if (!rule.neutral.includes(value)) requireField(rule.name, rule.field, honoured, model);
}

function requireField(name: string, field: SamplingField, honoured: readonly SamplingField[], model: string): void {
  if (honoured.includes(field)) return;
  throw StatorError.unsupported(`sampling.${name}`, `model ${model} does not honour ${name}`);
}
