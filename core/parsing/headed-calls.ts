import type { Context, ToolFormat } from './context.ts';
import type { Step } from './input.ts';
import { settle, streamArguments } from './json-calls.ts';
import { Markers } from './markers.ts';
import { captureBefore, nextUnit, takeMarker } from './read.ts';

export interface Head {
  readonly name: string;
  readonly id: string | null;
}

export interface HeadedStyle {
  readonly names: readonly string[];
  /** Begin a list of calls. */
  readonly sections: readonly string[];
  readonly sectionEnds: readonly string[];
  readonly call: string;
  readonly callEnd: string;
  /** Reads what stands between a call's marker and its arguments. */
  readonly head: (text: string) => Head | null;
  /** Text after the arguments that belongs to the call. */
  readonly trailer?: string;
  readonly specialTokens?: boolean;
}

const maxHead = 4096;

/** The family of formats that write a name, then arguments in JSON: Kimi K2, DeepSeek V3. What has no name is text. */
export function headedFormat(style: HeadedStyle): ToolFormat {
  const brace = new Markers(['{', style.callEnd, style.call]);
  const limits = new Markers([style.callEnd, ...style.sectionEnds, style.call]);
  const trailer = new Markers(style.trailer === undefined ? [] : [style.trailer]);
  return {
    names: style.names,
    starts: [style.call],
    sections: style.sections,
    hidden: [...style.sections, ...style.sectionEnds, style.callEnd],
    ...(style.specialTokens === undefined ? {} : { specialTokens: style.specialTokens }),
    *block(c: Context): Step<void> {
      const { input } = c;
      input.record();
      const text = yield* captureBefore(input, brace, maxHead);
      const end = brace.index;
      const head = text === null || end > 1 ? null : style.head(text);
      if (head === null) {
        if (text === null && input.ended) c.incomplete = true;
        else c.content(style.call + input.takeRecord());
        return;
      }
      input.dropRecord();
      c.startCall(head.name, head.id);
      if (end === 1) {
        c.arguments('{}');
        return c.endCall(true);
      }
      const result = yield* streamArguments(c);
      if (result === 'broken') return yield* settle(c, result, limits, false);
      c.endCall(result === 'call');
      if (result === 'call') yield* skipTrailer(c, trailer);
    },
  };
}

function* skipTrailer(c: Context, trailer: Markers): Step<void> {
  yield* nextUnit(c.input, c.content);
  yield* takeMarker(c.input, trailer);
}
