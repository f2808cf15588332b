import type { Context, ToolFormat } from '../context.ts';
import { headedFormat } from '../headed-calls.ts';
import type { Step } from '../input.ts';
import { jsonFormat } from '../json-calls.ts';
import { nextUnit } from '../read.ts';

const start = '[TOOL_CALLS]';
const list = jsonFormat({ names: ['mistral'], starts: [start], ends: ['[/TOOL_CALLS]'] });

/** Since tokenizer v11 each call is `[TOOL_CALLS]NAME[CALL_ID]ID[ARGS]{…}`, the id and the last marker not always there. */
const headed = headedFormat({
  names: [],
  sections: [],
  sectionEnds: ['[/TOOL_CALLS]'],
  call: start,
  callEnd: '[/TOOL_CALLS]',
  head: (text) => {
    const match = /^\s*([\w.:/-]+)\s*(?:\[CALL_ID\]\s*([^\s[\]]+)\s*)?(?:\[ARGS\]\s*)?$/.exec(text);
    return match?.[1] === undefined ? null : { name: match[1], id: match[2] ?? null };
  },
});

/** Mistral: `[TOOL_CALLS][{"name": …, "arguments": …}]`, newer models a name and its arguments. */
export const mistral: ToolFormat = {
  ...list,
  specialTokens: true,
  *block(c: Context, marker: string): Step<void> {
    c.input.record();
    const unit = yield* nextUnit(c.input);
    c.input.dropRecord();
    yield* unit === 91 || unit === 123 ? list.block(c, marker) : headed.block(c, marker);
  },
};
