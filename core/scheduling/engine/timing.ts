import type { TimingModel } from './settings.ts';

/** Dynamo's default: a fit of measured passes of an 8B model (aisimulate-core, perf_model.rs). */
export const polynomialTiming: TimingModel = {
  prefillMs: (tokens) => 4.209989e-7 * tokens * tokens + 1.518344e-2 * tokens + 16.50142,
  decodeMs(activeKvTokens, totalKvTokens) {
    const used = Math.min(1, activeKvTokens / totalKvTokens);
    return Math.max(1, -25.74 * used * used + 54.01 * used + 5.74);
  },
};

/** Prompts at a steady rate, decode passes of one length. */
export function fixedTiming(o: { readonly prefillMsPerToken: number; readonly decodeMs: number }): TimingModel {
  return { prefillMs: (tokens) => tokens * o.prefillMsPerToken, decodeMs: () => o.decodeMs };
}
