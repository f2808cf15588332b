import { jsonFormat } from '../json-calls.ts';

/** Inkling: blocks of a message; a call's is `<|content_invoke_tool_json|>{"name": …, "args": …}<|end_message|>`. */
export const inkling = jsonFormat({
  names: ['inkling'],
  starts: ['<|content_invoke_tool_json|>'],
  ends: ['<|end_message|>'],
  argumentKeys: ['args', 'arguments'],
  headers: ['<|message_model|>'],
  hidden: [
    '<|content_text|>',
    '<|content_invoke_tool_text|>',
    '<|content_tool_error|>',
    '<|content_model_end_sampling|>',
  ],
  specialTokens: true,
});
