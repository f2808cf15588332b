import { headedFormat } from '../headed-calls.ts';

/** Kimi K2: `<|tool_call_begin|>functions.NAME:IDX<|tool_call_argument_begin|>{…}<|tool_call_end|>` in a section. */
export const kimiK2 = headedFormat({
  names: ['kimi_k2', 'kimi_k25'],
  sections: ['<|tool_calls_section_begin|>', '<|tool_call_section_begin|>'],
  sectionEnds: ['<|tool_calls_section_end|>', '<|tool_call_section_end|>'],
  call: '<|tool_call_begin|>',
  callEnd: '<|tool_call_end|>',
  head: (text) => {
    const match = /^\s*((?:functions\.)?([^\s<>{]+?)(?::\d+)?)\s*(?:<\|tool_call_argument_begin\|>\s*)?$/.exec(text);
    return match?.[1] === undefined || match[2] === undefined ? null : { name: match[2], id: match[1] };
  },
  specialTokens: true,
});
