import type { Context } from './context.ts';
import type { ToolChoice } from './document.ts';
import type { Step } from './input.ts';
import { readCalls, settle, skipClosers, standardKeys, streamArguments } from './json-calls.ts';
import { Markers } from './markers.ts';
import { ended, nextUnit } from './read.ts';

const nothing = new Markers([]);

/** Calls as plain JSON, as the grammars of tool_choice "required" and of a named tool force them; whether there were any. */
export function* readGuided(c: Context, choice: ToolChoice): Step<boolean> {
  const { input } = c;
  const unit = yield* nextUnit(input, c.content);
  if (choice.mode === 'named') return yield* readNamed(c, choice.name, unit);
  if (unit !== 91 && unit !== 123) return unit === ended;
  const before = c.calls;
  input.record();
  const result = yield* readCalls(c, { argumentKeys: standardKeys, knownOnly: false }, ';');
  yield* settle(c, result, nothing, false);
  return c.calls > before || result === 'ended';
}

function* readNamed(c: Context, name: string, unit: number): Step<boolean> {
  if (unit !== 123) return unit === ended;
  c.startCall(name, null);
  const result = yield* streamArguments(c);
  if (result === 'broken') yield* settle(c, result, nothing, false);
  else c.endCall(result === 'call');
  if (result === 'call') yield* skipClosers(c);
  return true;
}
