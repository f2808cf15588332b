import { jsonFormat } from '../json-calls.ts';

/** Hermes and Qwen 2.5/3: `<tool_call>{"name": …, "arguments": …}</tool_call>`, once for each call. */
export const hermes = jsonFormat({
  names: ['hermes', 'qwen25', 'qwen2_5', 'qwen'],
  starts: ['<tool_call>'],
  ends: ['</tool_call>'],
});
