import { taggedFormat } from '../tagged-format.ts';

/** GLM 4.5 and later: `<tool_call>NAME<arg_key>K</arg_key><arg_value>V</arg_value></tool_call>`. */
export const glm47 = taggedFormat({
  names: ['glm47', 'glm45', 'glm4_moe'],
  blocks: [],
  blockEnds: [],
  call: '<tool_call>',
  bareCalls: true,
  headEnds: ['<arg_key>', '</tool_call>'],
  head: (text) => (/^[\w.:/-]+$/.test(text.trim()) ? text.trim() : null),
  parameters: {
    open: '<arg_key>',
    headEnd: '<arg_value>',
    head: (text) => {
      const key = /^([\s\S]*?)<\/arg_key>\s*$/.exec(text)?.[1]?.trim();
      return key === undefined ? null : { key, string: null };
    },
    end: '</arg_value>',
    callEnd: '</tool_call>',
    untyped: 'json',
  },
});
