import { Expander } from '#core/grammar/json/expander.ts';
import { reasoningFormats, toolFormats } from '#core/parsing/registry.ts';
import type { Observed } from './observed.ts';
import type { FailureClass } from './snapshot.ts';

export interface Failure {
  readonly class: FailureClass;
  readonly detail: string;
}

/** Tells what is wrong with an answer; null: nothing. */
export type Judge = (answer: Observed) => Failure | null;

export function failure(kind: FailureClass, detail: string): Failure {
  return { class: kind, detail: detail.length > 200 ? `${detail.slice(0, 200)}…` : detail };
}

/** Markup that no answer to a probe has a reason to show. */
const markup = [
  ...toolFormats.flatMap(({ starts, hidden = [], sections = [] }) => [...starts, ...hidden, ...sections]),
  ...reasoningFormats.flatMap(({ opens, closes, hidden = [] }) => [...opens, ...closes, ...hidden]),
].filter((marker) => /[<>[\]|◁]/.test(marker));

/** What every answer must keep to, whatever it was asked for. */
export function judgeAnswer(answer: Observed): Failure | null {
  const [fault] = answer.faults;
  if (fault !== undefined) return failure('stream', fault);
  for (const [place, text] of [
    ['content', answer.content],
    ['reasoning', answer.reasoning],
  ] as const) {
    const leaked = markup.find((marker) => text.includes(marker));
    if (leaked !== undefined) return failure('leak', `${leaked} in the ${place}: ${text}`);
  }
  const complete = answer.finish !== 'length';
  for (const call of complete ? answer.calls : answer.calls.slice(0, -1)) {
    if (!isObjectText(call.arguments)) return failure('arguments', `${call.name}: ${call.arguments}`);
  }
  if (complete && answer.calls.length > 0 !== (answer.finish === 'tool_calls')) {
    return failure('arguments', `${answer.calls.length} calls and finish_reason ${answer.finish}`);
  }
  return null;
}

function isObjectText(text: string): boolean {
  const value = parsed(text);
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** undefined: the text is no JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function isValid(schema: unknown, value: unknown): boolean {
  return new Expander(schema).allows([{ schema, at: '#' }], value);
}
