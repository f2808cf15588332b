import { attribute } from '../tagged-calls.ts';
import { taggedFormat } from '../tagged-format.ts';

/** MiniMax M2: `<minimax:tool_call><invoke name="…"><parameter name="…">…</parameter></invoke></minimax:tool_call>`. */
export const minimaxM2 = taggedFormat({
  names: ['minimax_m2'],
  blocks: ['<minimax:tool_call>'],
  blockEnds: ['</minimax:tool_call>'],
  call: '<invoke ',
  headEnds: ['>'],
  head: (text) => attribute(text, 'name'),
  parameters: {
    open: '<parameter ',
    headEnd: '>',
    head: (text) => {
      const key = attribute(text, 'name');
      return key === null ? null : { key, string: null };
    },
    end: '</parameter>',
    callEnd: '</invoke>',
    trimsLines: true,
    untyped: 'string',
  },
});
