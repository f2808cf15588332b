import type { Context, ToolFormat } from '../context.ts';
import type { Step } from '../input.ts';
import { settle, streamArguments } from '../json-calls.ts';
import { Markers } from '../markers.ts';
import { captureUntil, ended, nextUnit, readBefore } from '../read.ts';

const maxHead = 4096;
const message = new Markers(['<|message|>']);
const ends = ['<|end|>', '<|call|>', '<|return|>'];
const starts = ['<|start|>', '<|channel|>'];
const limits = new Markers([...ends, ...starts]);

/**
 * gpt-oss: messages `<|channel|>CHANNEL to=functions.NAME<|message|>…<|end|>`. The channel "analysis" is reasoning, a
 * recipient makes a call, everything else is content.
 */
export const harmony: ToolFormat = {
  names: ['harmony', 'gpt_oss'],
  starts,
  hidden: ends,
  specialTokens: true,
  *block(c: Context, start: string): Step<void> {
    const { input } = c;
    input.record();
    const head = yield* captureUntil(input, message, maxHead);
    if (head === null) {
      if (input.ended) c.incomplete = true;
      else c.content(start + input.takeRecord());
      return;
    }
    input.dropRecord();
    const name = /\bto=(?:functions\.)?([^\s<]+)/.exec(head)?.[1];
    if (name !== undefined && c.takesCalls) yield* readCall(c, name);
    else if (/^\s*(?:\w+<\|channel\|>)?\s*analysis\b/.test(head)) yield* readAnalysis(c);
  },
};

function* readAnalysis(c: Context): Step<void> {
  c.inReasoning = true;
  yield* readBefore(c.input, limits, c.reasoning);
  c.reasoningEnded();
}

function* readCall(c: Context, name: string): Step<void> {
  const { input } = c;
  const unit = yield* nextUnit(input);
  c.startCall(name, null);
  if (unit !== 123) {
    // Built-in tools take code or nothing; nothing is an object without members.
    let text = '';
    const end = yield* readBefore(input, limits, (piece) => {
      text += piece;
      c.arguments(piece);
    });
    const empty = text === '' && end !== ended;
    if (empty) c.arguments('{}');
    return c.endCall(empty);
  }
  const result = yield* streamArguments(c);
  if (result === 'broken') yield* settle(c, result, limits, false);
  else c.endCall(result === 'call');
}
