import type { ReasoningFormat } from '../context.ts';

const think = { opens: ['<think>'], closes: ['</think>'] };

/** `<think>…</think>` where the model writes it. */
export const basic: ReasoningFormat = { ...think, names: ['basic', 'qwen3', 'nemotron_deci', 'glm45', 'glm47'] };

/** As `basic`, and a call ends reasoning. */
export const deepseekV4: ReasoningFormat = {
  ...think,
  names: ['deepseek_v4', 'deepseek-v4', 'deepseekv4'],
  endsAtCalls: true,
};

/** Reasoning from the first token on, as the template opened it. */
export const forcedThink: ReasoningFormat = {
  ...think,
  names: ['deepseek_r1', 'deepseek_v3', 'deepseek_v3_1', 'deepseek_v3_2', 'step3', 'nemotron_nano'],
  forced: true,
};

/** Forced, and a call ends reasoning. */
export const forcedThinkUntilCalls: ReasoningFormat = {
  ...think,
  names: ['nemotron3', 'nemotron_v3', 'minimax_m2', 'kimi_k25'],
  forced: true,
  endsAtCalls: true,
};

/** Reasoning stays in the content, its opener put back: for clients that look for the tags themselves. */
export const minimaxAppendThink: ReasoningFormat = {
  names: ['minimax_append_think'],
  opens: [],
  closes: [],
  prefix: '<think>',
};
