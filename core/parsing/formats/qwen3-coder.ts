import { taggedFormat } from '../tagged-format.ts';

/** Qwen3-Coder, Nemotron Nano: `<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`. */
export const qwen3Coder = taggedFormat({
  names: ['qwen3_coder', 'nemotron_nano', 'nemotron3', 'nemotron_v3', 'qwen3_xml', 'step3p5', 'mimo'],
  blocks: ['<tool_call>'],
  blockEnds: ['</tool_call>'],
  call: '<function=',
  bareCalls: true,
  headEnds: ['>'],
  head: (text) => (/^[^\s<]+$/.test(text.trim()) ? text.trim() : null),
  parameters: {
    open: '<parameter=',
    headEnd: '>',
    head: (text) => ({ key: text.trim(), string: null }),
    end: '</parameter>',
    callEnd: '</function>',
    trimsLines: true,
    untyped: 'string',
  },
});
