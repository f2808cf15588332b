import type { Context, ToolFormat } from '../context.ts';
import type { Input, Step } from '../input.ts';
import { isJsonNumber } from '../json-scanner.ts';
import { Markers } from '../markers.ts';
import { inner } from '../python-literal.ts';
import { captureBefore, captureUntil, ended, nextUnit, readUntil, takeMarker, type Write } from '../read.ts';

const maxHead = 4096;
const maxDepth = 64;
const brace = new Markers(['{', '<tool_call|>', '<|tool_call>']);
const quote = new Markers(['<|"|>']);
const colon = new Markers([':']);
const bareEnd = new Markers([',', '}', ']', '<tool_call|>']);

/** Gemma 4: `<|tool_call>call:NAME{key:<|"|>text<|"|>,n:42}<tool_call|>`, its own notation of values. */
export const gemma4: ToolFormat = {
  names: ['gemma4'],
  starts: ['<|tool_call>'],
  hidden: ['<tool_call|>'],
  specialTokens: true,
  *block(c: Context, start: string): Step<void> {
    const { input } = c;
    input.record();
    const head = yield* captureBefore(input, brace, maxHead);
    const end = brace.index;
    const name = end > 1 ? undefined : /^\s*call:\s*([^\s{}<>]+)\s*$/.exec(head ?? '')?.[1];
    if (name === undefined) {
      if (head === null && input.ended) c.incomplete = true;
      else c.content(start + input.takeRecord());
      return;
    }
    const empty = end === 1;
    input.dropRecord();
    if (!empty) input.at++;
    c.startCall(name, null);
    if (empty) c.arguments('{}');
    c.endCall(empty || (yield* readObject(input, c.arguments, 0)));
  },
};

function* readObject(input: Input, write: Write, depth: number): Step<boolean> {
  write('{');
  for (let count = 0; ; count++) {
    const unit = yield* nextUnit(input);
    if (unit === 125) break;
    if (unit === ended) return false;
    const quoted = (yield* takeMarker(input, quote)) >= 0;
    const key = yield* captureUntil(input, quoted ? quote : colon, maxHead);
    if (key === null) return false;
    if (quoted) {
      yield* nextUnit(input);
      if ((yield* takeMarker(input, colon)) < 0) return false;
    }
    write(`${count > 0 ? ',' : ''}${JSON.stringify(quoted ? key : key.trim())}:`);
    if (!(yield* readValue(input, write, depth + 1))) return false;
    const after = yield* nextUnit(input);
    if (after === 44) input.at++;
    else if (after !== 125) return false;
  }
  input.at++;
  write('}');
  return true;
}

function* readArray(input: Input, write: Write, depth: number): Step<boolean> {
  write('[');
  for (let count = 0; ; count++) {
    const unit = yield* nextUnit(input);
    if (unit === 93) break;
    if (count > 0) write(',');
    if (!(yield* readValue(input, write, depth + 1))) return false;
    const after = yield* nextUnit(input);
    if (after === 44) input.at++;
    else if (after !== 93) return false;
  }
  input.at++;
  write(']');
  return true;
}

function* readValue(input: Input, write: Write, depth: number): Step<boolean> {
  if (depth > maxDepth) return false;
  const unit = yield* nextUnit(input);
  if (unit === ended) return false;
  if (unit === 123 || unit === 91) {
    input.at++;
    return unit === 123 ? yield* readObject(input, write, depth) : yield* readArray(input, write, depth);
  }
  if ((yield* takeMarker(input, quote)) >= 0) {
    write('"');
    if ((yield* readUntil(input, quote, (text) => write(inner(text)))) === ended) return false;
    write('"');
    return true;
  }
  const text = yield* captureBefore(input, bareEnd);
  if (text === null) return false;
  const word = text.trim();
  const literal = word === 'true' || word === 'false' || word === 'null' || isJsonNumber(word);
  write(literal ? word : JSON.stringify(word));
  return true;
}
