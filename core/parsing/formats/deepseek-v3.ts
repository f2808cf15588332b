import { headedFormat } from '../headed-calls.ts';

const markup = {
  sections: ['<｜tool▁calls▁begin｜>'],
  sectionEnds: ['<｜tool▁calls▁end｜>'],
  call: '<｜tool▁call▁begin｜>',
  callEnd: '<｜tool▁call▁end｜>',
};

/** DeepSeek V3 and R1: `function<｜tool▁sep｜>NAME`, then the arguments in a block of JSON code. */
export const deepseekV3 = headedFormat({
  ...markup,
  names: ['deepseek_v3'],
  head: (text) => headOf(/^\s*\w*<｜tool▁sep｜>\s*([^\s<>{`]+)\s*(?:```(?:json)?\s*)?$/.exec(text)),
  trailer: '```',
});

/** DeepSeek V3.1: `NAME<｜tool▁sep｜>{…}`. */
export const deepseekV31 = headedFormat({
  ...markup,
  names: ['deepseek_v3_1', 'deepseek_v31'],
  head: (text) => headOf(/^\s*([^\s<>{]+?)\s*(?:<｜tool▁sep｜>\s*)?$/.exec(text)),
});

function headOf(match: RegExpExecArray | null): { name: string; id: null } | null {
  return match?.[1] === undefined ? null : { name: match[1], id: null };
}
