import type { Context, ToolFormat } from '../context.ts';
import type { Step } from '../input.ts';
import { readLiteral, readWord } from '../python-literal.ts';
import { ended, later, nextUnit, unitNow } from '../read.ts';

const [open, close, parenthesis, endParenthesis, comma, equals] = [91, 93, 40, 41, 44, 61];

/** Llama 4 and others: a list of calls in Python, `[fn(a=1, b="x"), …]`, or the same between `<|python_start|>` and `<|python_end|>`. */
export const pythonic: ToolFormat = {
  names: ['pythonic', 'llama4_pythonic', 'llama4'],
  starts: ['<|python_start|>'],
  hidden: ['<|python_end|>'],
  block: readList,
  *leading(c: Context): Step<void> {
    const unit = yield* nextUnit(c.input, c.content);
    if (unit === open) yield* readList(c);
  },
};

function* readList(c: Context): Step<void> {
  const { input } = c;
  input.record();
  if ((yield* nextUnit(input)) !== open) return c.content(input.takeRecord());
  input.at++;
  for (let count = 0; ; count++) {
    const unit = yield* nextUnit(input);
    if (unit === ended) return giveBack(c, count);
    if (unit === close && count > 0) {
      input.at++;
      return input.dropRecord();
    }
    const name = yield* readWord(input);
    const next = yield* nextUnit(input);
    if (!/^[A-Za-z_][\w.-]*$/.test(name) || next !== parenthesis || (count === 0 && !c.knows(name))) {
      return giveBack(c, count);
    }
    input.at++;
    input.dropRecord();
    c.startCall(name, null);
    const whole = yield* readArguments(c);
    c.endCall(whole);
    if (!whole) return;
    input.record();
    if ((yield* nextUnit(input)) === comma) input.at++;
  }
}

/** What is no call is text; after calls only what is not cut off is. */
function giveBack(c: Context, count: number): void {
  const text = c.input.takeRecord();
  if (count === 0 || !c.input.ended) c.content(text);
  else c.incomplete = true;
}

function* readArguments(c: Context): Step<boolean> {
  const { input } = c;
  c.arguments('{');
  for (let count = 0; ; count++) {
    let unit = unitNow(input);
    if (unit === later) unit = yield* nextUnit(input);
    if (unit === ended) return false;
    if (unit === endParenthesis) break;
    const key = yield* readWord(input);
    if (key === '' || (yield* nextUnit(input)) !== equals) return false;
    input.at++;
    c.arguments(`${count > 0 ? ',' : ''}${JSON.stringify(key)}:`);
    if (!(yield* readLiteral(input, c.arguments))) return false;
    let after = unitNow(input);
    if (after === later) after = yield* nextUnit(input);
    if (after === comma) input.at++;
    else if (after !== endParenthesis) return false;
  }
  input.at++;
  c.arguments('}');
  return true;
}
