import { jsonFormat } from '../json-calls.ts';

/** Granite: `<|tool_call|>[{…}, …]`, older models `<tool_call>[{…}]`. */
export const granite = jsonFormat({
  names: ['granite'],
  starts: ['<|tool_call|>', '<tool_call>'],
  ends: ['</tool_call>'],
  specialTokens: true,
});
