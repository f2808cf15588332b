import { z } from 'zod';
import {
  type DisaggregationSettings,
  defaultDisaggregation,
  disaggregationPolicies,
} from '#core/routing/disaggregation.ts';
import { type SettingsOf, setting } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';

const group = 'Disaggregation';

export const disaggregationSettings = {
  conditionalDisagg: setting.boolean({
    default: false,
    group,
    help: 'Whether decode workers compute some prompts themselves; needs the mode kv for the decode stage.',
  }),
  conditionalDisaggConfig: setting.optionalString({
    group,
    help: 'Which ones, as JSON: policy (isl_bounding, prefill_load, isl_or_load, local_length), eff_isl_threshold, eff_isl_ratio_threshold, prefill_busy_threshold, decode_busy_threshold, max_local_prefill_length, max_prefill_queue_size (docs/disaggregation.md).',
  }),
};

const count = z.number().int().min(0);
const fields = z.strictObject({
  policy: z.enum(disaggregationPolicies).default(defaultDisaggregation.policy),
  eff_isl_threshold: count.default(defaultDisaggregation.effIslThreshold),
  eff_isl_ratio_threshold: z.number().min(0).max(1).optional(),
  /** What the ratio is called in some releases of Dynamo. */
  eff_isl_ratio: z.number().min(0).max(1).optional(),
  prefill_busy_threshold: z.number().min(0).nullish(),
  decode_busy_threshold: z.number().min(0).max(1).nullish(),
  max_local_prefill_length: count.default(defaultDisaggregation.maxLocalPrefillLength),
  max_prefill_queue_size: count.default(defaultDisaggregation.maxPrefillQueueSize),
});

/** When decode workers compute prompts; null: never. Throws `invalid_argument` naming what is wrong in the JSON. */
export function parseDisaggregation(
  config: SettingsOf<typeof disaggregationSettings> & { readonly queueThreshold: number },
): DisaggregationSettings | null {
  if (!config.conditionalDisagg) return null;
  const parsed = fields.safeParse(jsonOf(config.conditionalDisaggConfig ?? '{}'));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const at = ['conditional_disagg_config', ...(issue?.path ?? [])].join('.');
    throw StatorError.invalid(at, `${at}: ${issue?.message ?? 'is malformed'}`);
  }
  const { data } = parsed;
  return {
    policy: data.policy,
    effIslThreshold: data.eff_isl_threshold,
    effIslRatioThreshold:
      data.eff_isl_ratio_threshold ?? data.eff_isl_ratio ?? defaultDisaggregation.effIslRatioThreshold,
    // Who queues behind busy prefill workers would rather not.
    prefillBusyThreshold: data.prefill_busy_threshold ?? (config.queueThreshold > 0 ? config.queueThreshold : null),
    decodeBusyThreshold: data.decode_busy_threshold ?? null,
    maxLocalPrefillLength: data.max_local_prefill_length,
    maxPrefillQueueSize: data.max_prefill_queue_size,
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw StatorError.invalid('conditional_disagg_config', `conditional_disagg_config is no JSON: ${String(cause)}`);
  }
}
