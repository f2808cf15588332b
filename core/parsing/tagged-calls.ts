import type { Context, ToolSchema } from './context.ts';
import type { Step } from './input.ts';
import { Markers } from './markers.ts';
import { inner } from './python-literal.ts';
import { captureUntil, ended, ignore, nextUnit, peekMarker, readUntil, type Write } from './read.ts';
import { convertText, convertUntyped, parameterTypes } from './schema-types.ts';

export interface ParameterHead {
  readonly key: string;
  /** Whether the model itself says that the value is a string; null: it does not say. */
  readonly string: boolean | null;
}

/** How a call's parameters are tagged. */
export interface ParameterStyle {
  readonly open: string;
  readonly headEnd: string;
  readonly head: (text: string) => ParameterHead | null;
  readonly end: string;
  readonly callEnd: string;
  /** One line break on each side of a value is layout. */
  readonly trimsLines?: boolean;
  /** What values are for which there is no schema. */
  readonly untyped: 'string' | 'json';
}

/** A style with its markers compiled. */
export interface Parameters extends ParameterStyle {
  readonly next: Markers;
  readonly headEnds: Markers;
  readonly ends: Markers;
}

const maxHead = 4096;

export function compileParameters(style: ParameterStyle): Parameters {
  return {
    ...style,
    next: new Markers([style.open, style.callEnd]),
    headEnds: new Markers([style.headEnd]),
    ends: new Markers([style.end]),
  };
}

/** Writes tagged parameters as one JSON object, strings as they come; whether the call was closed. */
export function* readParameters(c: Context, style: Parameters, tool: ToolSchema | undefined): Step<boolean> {
  const { input } = c;
  c.arguments('{');
  for (let count = 0; ; ) {
    const next = yield* readUntil(input, style.next, ignore);
    if (next === ended) return false;
    if (next === 1) break;
    const text = yield* captureUntil(input, style.headEnds, maxHead);
    const head = text === null ? null : style.head(text);
    if (head === null) {
      if (text === null) return false;
      continue;
    }
    c.arguments(`${count++ > 0 ? ',' : ''}${JSON.stringify(head.key)}:`);
    if (!(yield* readTyped(c, style, head, tool))) return false;
  }
  c.arguments('}');
  return true;
}

function* readTyped(c: Context, style: Parameters, head: ParameterHead, tool: ToolSchema | undefined): Step<boolean> {
  const types = parameterTypes(tool, head.key);
  const untyped = types.size === 0;
  const plain = types.size === 1 && types.has('string');
  if (head.string ?? (plain || (untyped && style.untyped === 'string'))) return yield* readStringValue(c, style);
  let text = '';
  const whole = yield* readValue(c, style, (piece) => {
    text += piece;
  });
  const value = style.trimsLines === true ? text.replace(/^\n/, '').replace(/\n$/, '') : text;
  if (whole) c.arguments(untyped || head.string === false ? convertUntyped(value) : convertText(value, types));
  else c.arguments(value);
  return whole;
}

function* readStringValue(c: Context, style: Parameters): Step<boolean> {
  c.arguments('"');
  let first = style.trimsLines === true;
  let line = false;
  const whole = yield* readValue(c, style, (piece) => {
    let text = piece;
    if (first && text.startsWith('\n')) text = text.slice(1);
    first = false;
    if (text === '') return;
    if (line) c.arguments('\\n');
    line = style.trimsLines === true && text.endsWith('\n');
    c.arguments(inner(line ? text.slice(0, -1) : text));
  });
  if (whole) c.arguments('"');
  return whole;
}

/** A value up to its end tag: one that another tag follows, as values may hold tags themselves. */
function* readValue(c: Context, style: Parameters, write: Write): Step<boolean> {
  const { input } = c;
  for (;;) {
    if ((yield* readUntil(input, style.ends, write)) === ended) return false;
    input.record();
    yield* nextUnit(input);
    const next = yield* peekMarker(input, style.next);
    const space = input.takeRecord();
    if (next >= 0 || input.at === input.text.length) return true;
    write(style.end + space);
  }
}

/** The value of an attribute in a tag, entities decoded; null: it has none of that name. */
export function attribute(text: string, name: string): string | null {
  const match = new RegExp(`(?:^|\\s)${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s"'>]+))`).exec(text);
  if (match === null) return null;
  const value = match[1] ?? match[2] ?? match[3] ?? '';
  return value.replaceAll('&quot;', '"').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
}
