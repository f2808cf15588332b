import type { Context, ToolFormat } from './context.ts';
import type { Step } from './input.ts';
import { captureJson, readJson, tryJson } from './json-scanner.ts';
import { Markers } from './markers.ts';
import { ended, ignore, nextUnit, readBefore, thisUnit } from './read.ts';

/** call: read to its end; malformed: no call (its text is recorded); ended: cut off; broken: its arguments are no JSON. */
type CallResult = 'call' | 'malformed' | 'ended' | 'broken';

interface CallStyle {
  readonly argumentKeys: readonly string[];
  /** Only tools on offer: what has no marker may be an answer in JSON. */
  readonly knownOnly: boolean;
}

interface Draft {
  name: string | null;
  id: string | null;
  /** Arguments that came before the name. */
  early: string | null;
  started: boolean;
}

const [openBrace, closeBrace, openBracket, closeBracket, comma, colon, quote] = [123, 125, 91, 93, 44, 58, 34];
export const standardKeys = ['arguments', 'parameters'];

/** Calls as JSON objects: one, several with separators, or a list. Stops before what belongs to none. */
export function* readCalls(c: Context, style: CallStyle, separator: string): Step<CallResult> {
  const { input } = c;
  let unit = yield* nextUnit(input);
  const list = unit === openBracket;
  if (list) {
    input.at++;
    unit = yield* nextUnit(input);
  }
  for (let count = 0; ; count++) {
    if (unit === ended) return count > 0 && !list ? 'call' : 'ended';
    if (list && unit === closeBracket) {
      input.at++;
      return count > 0 ? 'call' : 'malformed';
    }
    if (unit !== openBrace) return count > 0 ? 'call' : 'malformed';
    if (count > 0) input.record();
    const result = yield* readCall(c, style);
    if (result !== 'call') return result;
    input.dropRecord();
    unit = yield* nextUnit(input, list ? ignore : c.content);
    if (unit === (list ? comma : separator.charCodeAt(0))) {
      input.at++;
      unit = yield* nextUnit(input);
    } else if (!list) return 'call';
  }
}

/** One call object, from its brace on. */
function* readCall(c: Context, style: CallStyle): Step<CallResult> {
  const draft: Draft = { name: null, id: null, early: null, started: false };
  const result = yield* readMembers(c, style, draft);
  if (result === 'broken') return result;
  if (draft.started) {
    c.endCall(result === 'call');
    return result === 'ended' ? 'ended' : 'call';
  }
  if (result !== 'call') return result;
  if (draft.name === null) return 'malformed';
  c.startCall(draft.name, draft.id);
  c.arguments(draft.early ?? '{}');
  c.endCall(true);
  return 'call';
}

function* readMembers(c: Context, style: CallStyle, draft: Draft): Step<CallResult> {
  const { input } = c;
  input.at++;
  for (;;) {
    const unit = yield* nextUnit(input);
    if (unit === ended) return 'ended';
    if (unit === comma) {
      input.at++;
      continue;
    }
    if (unit === closeBrace) {
      input.at++;
      return 'call';
    }
    // Models forget the last brace: the arguments are whole all the same.
    if (unit !== quote) return draft.started ? 'call' : 'malformed';
    const key = yield* readText(c);
    if (key === null) return input.ended ? 'ended' : 'malformed';
    const after = yield* nextUnit(input);
    if (after !== colon) return after === ended ? 'ended' : 'malformed';
    input.at++;
    const result = yield* readMember(c, style, draft, key);
    if (result !== 'call') return result;
  }
}

function* readMember(c: Context, style: CallStyle, draft: Draft, key: string): Step<CallResult> {
  const { input } = c;
  const unit = yield* nextUnit(input);
  if (unit === ended) return 'ended';
  if (style.argumentKeys.includes(key) && !draft.started && draft.early === null) {
    return yield* readArguments(c, draft);
  }
  if (key === 'function' && unit === openBrace && draft.name === null) return yield* readMembers(c, style, draft);
  const value = yield* captureJson(input);
  if (value === null) return input.ended ? 'ended' : 'malformed';
  if (draft.started || unit !== quote) return 'call';
  if (key === 'id') draft.id = String(tryJson(value));
  if ((key !== 'name' && key !== 'function') || draft.name !== null) return 'call';
  const name = String(tryJson(value));
  if (name === '' || (style.knownOnly && !c.knows(name))) return 'malformed';
  draft.name = name;
  return 'call';
}

function* readArguments(c: Context, draft: Draft): Step<CallResult> {
  const { input } = c;
  if (draft.name === null) {
    const value = yield* captureJson(input);
    if (value === null) return input.ended ? 'ended' : 'malformed';
    draft.early = plainArguments(value);
    return 'call';
  }
  input.dropRecord();
  c.startCall(draft.name, draft.id);
  draft.started = true;
  return yield* streamArguments(c);
}

/** The value of a started call's arguments, which also may be JSON text inside a string, or null. */
export function* streamArguments(c: Context): Step<CallResult> {
  const { input } = c;
  const unit = yield* thisUnit(input);
  if (unit === openBrace || unit === openBracket) return outcome(yield* readJson(input, c.arguments));
  let text = '';
  const result = yield* readJson(input, (piece) => {
    text += piece;
  });
  c.arguments(result === 'done' ? plainArguments(text) : text);
  return outcome(result);
}

function outcome(result: 'done' | 'bad' | 'ended'): CallResult {
  if (result === 'done') return 'call';
  return result === 'bad' ? 'broken' : 'ended';
}

function plainArguments(json: string): string {
  const value = json.startsWith('"') || json === 'null' ? tryJson(json) : undefined;
  if (value === null || value === '') return '{}';
  return typeof value === 'string' && tryJson(value) !== undefined ? value : json;
}

function* readText(c: Context): Step<string | null> {
  const json = yield* captureJson(c.input);
  const value = json === null ? undefined : tryJson(json);
  return typeof value === 'string' ? value : null;
}

export interface JsonStyle {
  readonly names: readonly string[];
  readonly starts: readonly string[];
  readonly ends: readonly string[];
  readonly argumentKeys?: readonly string[];
  readonly separator?: string;
  /** Begin calls without a marker: "{", "[" or both. */
  readonly bare?: string;
  readonly hidden?: readonly string[];
  readonly headers?: readonly string[];
  readonly specialTokens?: boolean;
}

/** The family of formats that wrap JSON objects in markers. What turns out to be no call is text, without the markers. */
export function jsonFormat(style: JsonStyle): ToolFormat {
  const argumentKeys = style.argumentKeys ?? standardKeys;
  const separator = style.separator ?? ';';
  const limits = new Markers([...style.ends, ...style.starts]);
  const { starts, bare, ends } = style;
  const read = function* (c: Context, knownOnly: boolean): Step<void> {
    const { input } = c;
    input.record();
    const result = yield* readCalls(c, { argumentKeys, knownOnly }, separator);
    yield* settle(c, result, limits, knownOnly);
    if (result === 'call' && !knownOnly) yield* skipClosers(c);
  };
  return {
    names: style.names,
    starts,
    hidden: [...ends, ...(style.hidden ?? [])],
    ...(style.headers === undefined ? {} : { headers: style.headers }),
    ...(style.specialTokens === undefined ? {} : { specialTokens: style.specialTokens }),
    block: (c) => read(c, false),
    ...(bare === undefined ? {} : { leading: (c: Context) => readBare(c, bare, read) }),
  };
}

export function* readBare(c: Context, first: string, read: (c: Context, knownOnly: boolean) => Step<void>): Step<void> {
  const unit = yield* nextUnit(c.input, c.content);
  if (unit !== ended && first.includes(String.fromCharCode(unit))) yield* read(c, true);
}

/** What is left of text that was read as calls: text again, more of a broken call's arguments, or nothing. */
export function* settle(c: Context, result: CallResult, limits: Markers, bare: boolean): Step<void> {
  const { input } = c;
  if (result === 'broken') {
    input.dropRecord();
    yield* readBefore(input, limits, c.arguments);
    c.endCall(false);
    return;
  }
  if (result === 'call') {
    input.dropRecord();
    return;
  }
  const rest = input.takeRecord();
  if (result === 'malformed' || bare) c.content(rest);
  else {
    c.endCall(false);
    c.incomplete = true;
  }
}

/** Models close more braces than they opened. */
export function* skipClosers(c: Context): Step<void> {
  for (;;) {
    const unit = yield* nextUnit(c.input, c.content);
    if (unit !== closeBrace && unit !== closeBracket) return;
    c.input.at++;
  }
}
