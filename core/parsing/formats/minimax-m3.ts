import type { Context, ToolSchema } from '../context.ts';
import type { Step } from '../input.ts';
import { Markers } from '../markers.ts';
import { convertElement, parseElements } from '../nested-elements.ts';
import { ended, readUntil } from '../read.ts';
import { attribute } from '../tagged-calls.ts';
import { taggedFormat } from '../tagged-format.ts';

const mark = ']<]minimax[>[';
const invokeEnd = new Markers([`${mark}</invoke>`]);

/**
 * MiniMax M3: as M2's, but every tag is marked and parameters are elements named after themselves, which nest. What an
 * element means is known when it is closed only, so arguments come as one piece.
 */
export const minimaxM3 = taggedFormat({
  names: ['minimax_m3'],
  blocks: [`${mark}<tool_call>`],
  blockEnds: [`${mark}</tool_call>`],
  call: `${mark}<invoke `,
  headEnds: ['>'],
  head: (text) => attribute(text, 'name'),
  parameters: readBody,
  specialTokens: true,
});

function* readBody(c: Context, tool: ToolSchema | undefined): Step<boolean> {
  let text = '';
  const end = yield* readUntil(c.input, invokeEnd, (piece) => {
    text += piece;
  });
  const elements = parseElements(text, mark);
  const json = convertElement(elements, tool?.parameters ?? {}, tool?.parameters);
  c.arguments(end === ended ? json.slice(0, -1) : json);
  return end !== ended;
}
