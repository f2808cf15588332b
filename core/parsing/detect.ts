import type { ReasoningFormat } from './context.ts';
import type { ReasoningStart } from './document.ts';

export interface DetectedFormats {
  /** Names of the formats; null: the template shows none. */
  readonly tool: string | null;
  readonly reasoning: string | null;
}

type Rule = readonly [format: string, ...markers: (string | RegExp)[]];

/** The first rule all of whose markers are in the template names the format: the rarer markup comes first. */
const toolRules: readonly Rule[] = [
  ['harmony', '<|channel|>', '<|message|>'],
  ['inkling', '<|content_invoke_tool_json|>'],
  ['minimax_m3', ']<]minimax[>['],
  ['minimax_m2', '<minimax:tool_call>'],
  ['kimi_k3', '<|open|>', '<|sep|>'],
  ['kimi_k2', '<|tool_call_begin|>'],
  ['deepseek_v4', '｜DSML｜', /DSML[^\n]{0,40}tool_calls/],
  ['deepseek_v3_2', '｜DSML｜'],
  ['deepseek_v3', '<｜tool▁call▁begin｜>', '```json'],
  ['deepseek_v3_1', '<｜tool▁call▁begin｜>'],
  ['gemma4', '<|tool_call>'],
  ['glm47', '<arg_key>'],
  ['qwen3_coder', '<function='],
  ['mistral', '[TOOL_CALLS]'],
  ['phi4', 'functools['],
  ['nemotron_deci', '<TOOLCALL>'],
  ['jamba', '<tool_calls>'],
  ['pythonic', '<|python_start|>'],
  ['pythonic', '<|header_start|>', 'tools'],
  ['llama3_json', '<|python_tag|>'],
  ['llama3_json', '<|start_header_id|>', '"parameters"'],
  ['granite', '<|tool_call|>'],
  ['granite', '<|start_of_role|>', '<tool_call>'],
  ['hermes', '<tool_call>'],
];

const reasoningRules: readonly Rule[] = [
  ['gpt_oss', '<|channel|>', 'analysis'],
  ['inkling', '<|content_thinking|>'],
  ['minimax_m3', '<mm:think>'],
  ['minimax_m2', '<minimax:tool_call>', '<think>'],
  ['kimi_k3', '<|open|>', '<|sep|>', 'think'],
  ['kimi_k25', '<|tool_call_begin|>', '<think>'],
  ['kimi', '◁think▷'],
  ['deepseek_v4', '｜DSML｜', /DSML[^\n]{0,40}tool_calls/],
  ['deepseek_v3_2', '｜DSML｜', 'think>'],
  ['deepseek_v3_1', '<｜tool▁call▁begin｜>', 'thinking', 'think>'],
  ['deepseek_r1', '<｜tool▁call▁begin｜>', 'think>'],
  ['gemma4', '<|channel>'],
  ['mistral', '[THINK]'],
  ['granite', 'my thought process'],
  ['glm45', '<arg_key>', 'think>'],
  ['qwen3', /<\/?think>/],
];

/** What formats a model writes, read from its chat template, which renders earlier turns in them. */
export function detectFormats(template: string): DetectedFormats {
  return { tool: firstMatch(toolRules, template), reasoning: firstMatch(reasoningRules, template) };
}

/** Where the answer to a rendered prompt begins: inside of reasoning that it opened, after one that it closed, or as the format has it. */
export function reasoningAfter(prompt: string, { opens, closes }: ReasoningFormat): ReasoningStart {
  const end = prompt.trimEnd();
  const endsWith = (marker: string): boolean => end.endsWith(marker.trimEnd());
  if (opens.some(endsWith)) return 'inside';
  return closes.some(endsWith) ? 'content' : 'format';
}

function firstMatch(rules: readonly Rule[], template: string): string | null {
  for (const [format, ...markers] of rules) {
    const all = markers.every((marker) =>
      typeof marker === 'string' ? template.includes(marker) : marker.test(template),
    );
    if (all) return format;
  }
  return null;
}
