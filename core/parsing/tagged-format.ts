import type { Context, ToolFormat, ToolSchema } from './context.ts';
import type { Step } from './input.ts';
import { Markers } from './markers.ts';
import { captureBefore, ended, ignore, nextUnit, peekMarker, takeMarker } from './read.ts';
import { compileParameters, type ParameterStyle, readParameters } from './tagged-calls.ts';

export interface TaggedStyle {
  readonly names: readonly string[];
  /** Begin a block of calls. */
  readonly blocks: readonly string[];
  readonly blockEnds: readonly string[];
  readonly call: string;
  /** A call may begin without a block. */
  readonly bareCalls?: boolean;
  /** What ends the text that names the function; the first is part of it, the others stay to be read. */
  readonly headEnds: readonly string[];
  readonly head: (text: string) => string | null;
  /** Tagged parameters, or a reader of its own for what follows the head. */
  readonly parameters: ParameterStyle | ReadBody;
  readonly hidden?: readonly string[];
  readonly specialTokens?: boolean;
}

/** Writes a call's arguments; whether the call was closed. */
export type ReadBody = (c: Context, tool: ToolSchema | undefined) => Step<boolean>;

interface Compiled {
  readonly next: Markers;
  readonly headEnds: Markers;
  readonly headEndCount: number;
  readonly keepsHeadEnd: boolean;
  readonly head: (text: string) => string | null;
  readonly body: ReadBody;
}

const maxHead = 4096;

/** The family of formats with a tag for each call and each parameter. A block without a call is text, its markup included. */
export function taggedFormat(style: TaggedStyle): ToolFormat {
  const { parameters } = style;
  const keepsHeadEnd = typeof parameters === 'object' && style.headEnds[0] === parameters.open;
  const compiled: Compiled = {
    next: new Markers([style.call, ...style.blockEnds]),
    // A call that begins anew shows that the text before it was none.
    headEnds: new Markers([...style.headEnds, ...style.blocks, style.call]),
    headEndCount: style.headEnds.length,
    keepsHeadEnd,
    head: style.head,
    body: typeof parameters === 'function' ? parameters : taggedBody(parameters),
  };
  return {
    names: style.names,
    starts: [...style.blocks, ...(style.bareCalls === true ? [style.call] : [])],
    ...(style.hidden === undefined ? {} : { hidden: style.hidden }),
    ...(style.specialTokens === undefined ? {} : { specialTokens: style.specialTokens }),
    block: (c, start) => readBlock(c, compiled, start, start === style.call),
  };
}

function taggedBody(style: ParameterStyle): ReadBody {
  const parameters = compileParameters(style);
  return (c, tool) => readParameters(c, parameters, tool);
}

function* readBlock(c: Context, style: Compiled, start: string, inCall: boolean): Step<void> {
  const { input } = c;
  let raw = start;
  input.record();
  if (inCall && !(yield* readCall(c, style, start))) return;
  if (inCall) raw = '';
  for (;;) {
    const unit = yield* nextUnit(input, raw === '' ? c.content : ignore);
    if (unit === ended) {
      if (raw !== '') c.incomplete = true;
      return;
    }
    const next = yield* peekMarker(input, style.next);
    if (next < 0) {
      if (raw === '') return;
      if (input.ended) c.incomplete = true;
      return c.content(raw + input.takeRecord());
    }
    if (raw === '') input.record();
    yield* takeMarker(input, style.next);
    if (next > 0) return input.dropRecord();
    if (!(yield* readCall(c, style, raw))) return;
    raw = '';
  }
}

/** From the call's marker on; false: the text ended, or it was no call and is content now. */
function* readCall(c: Context, style: Compiled, raw: string): Step<boolean> {
  const { input } = c;
  const text = yield* captureBefore(input, style.headEnds, maxHead);
  const ends = style.headEnds.index < style.headEndCount;
  const name = text === null || !ends ? null : style.head(text);
  if (name === null || name === '') {
    if (text === null && input.ended) c.incomplete = true;
    else c.content(raw + input.takeRecord());
    return false;
  }
  input.dropRecord();
  if (!style.keepsHeadEnd) input.at += style.headEnds.all[0]?.length ?? 0;
  c.startCall(name, null);
  const whole = yield* style.body(c, c.tools.get(name));
  c.endCall(whole);
  return whole;
}
