import type { ToolFormat } from '../context.ts';
import { attribute } from '../tagged-calls.ts';
import { taggedFormat } from '../tagged-format.ts';

const mark = '｜DSML｜';

/** DeepSeek V3.2 and V4: tags marked with DSML; the empty line in front belongs to the block. */
function dsml(names: readonly string[], block: string): ToolFormat {
  return taggedFormat({
    names,
    blocks: [`\n\n<${mark}${block}>`, `<${mark}${block}>`],
    blockEnds: [`</${mark}${block}>`],
    call: `<${mark}invoke `,
    headEnds: ['>'],
    head: (text) => attribute(text, 'name'),
    parameters: {
      open: `<${mark}parameter `,
      headEnd: '>',
      head: (text) => {
        const key = attribute(text, 'name');
        const string = attribute(text, 'string');
        return key === null ? null : { key, string: string === null ? null : string === 'true' };
      },
      end: `</${mark}parameter>`,
      callEnd: `</${mark}invoke>`,
      untyped: 'string',
    },
  });
}

export const deepseekV32 = dsml(['deepseek_v3_2', 'deepseek_v32'], 'function_calls');
export const deepseekV4 = dsml(['deepseek_v4', 'deepseek-v4', 'deepseekv4'], 'tool_calls');
