import type { AnswerPart } from '../parsing/parts.ts';
import { escapeJson } from '../sse/json-escape.ts';

/** What a stream tells once more as a whole, beside its chunks. */
export interface Dispatches {
  readonly calls: boolean;
  readonly reasoning: boolean;
}

interface Open {
  call: { readonly index: number; readonly id: string; readonly name: string; arguments: string } | null;
  reasoning: string;
}

/**
 * Events of their own for clients that act on a call or on reasoning as a whole, while the stream goes on:
 * `tool_call_dispatch` once for each whole call, `reasoning_dispatch` once reasoning has ended. Names and fields are Dynamo's.
 */
export class DispatchEvents {
  readonly #wanted: Dispatches;
  readonly #open: Open[] = [];

  constructor(wanted: Dispatches) {
    this.#wanted = wanted;
  }

  /** Events that a part of a choice brings. */
  part(choice: number, part: AnswerPart): string {
    const open = this.#of(choice);
    if (part.kind === 'reasoning') {
      if (this.#wanted.reasoning) open.reasoning += part.text;
      return '';
    }
    return this.end(choice) + (this.#wanted.calls ? callEvent(choice, open, part) : '');
  }

  /** The event of reasoning that has ended, and at the end of a choice of reasoning that nothing followed. */
  end(choice: number): string {
    const open = this.#of(choice);
    if (open.reasoning === '') return '';
    const text = escapeJson(open.reasoning);
    open.reasoning = '';
    return `event: reasoning_dispatch\ndata: {"index":${choice},"reasoning_content":"${text}"}\n\n`;
  }

  #of(choice: number): Open {
    let open = this.#open[choice];
    if (open === undefined) {
      open = { call: null, reasoning: '' };
      this.#open[choice] = open;
    }
    return open;
  }
}

function callEvent(choice: number, open: Open, part: AnswerPart): string {
  if (part.kind === 'call') {
    const { index, id, name } = part;
    open.call = { index, id, name, arguments: part.arguments };
    return '';
  }
  const { call } = open;
  if (call === null) return '';
  if (part.kind === 'arguments') call.arguments += part.arguments;
  if (part.kind !== 'callEnd') return '';
  open.call = null;
  // Half a call is nothing to act on.
  if (!part.complete) return '';
  const called = `{"name":"${escapeJson(call.name)}","arguments":"${escapeJson(call.arguments)}"}`;
  const tool = `{"index":${call.index},"id":"${escapeJson(call.id)}","type":"function","function":${called}}`;
  return `event: tool_call_dispatch\ndata: {"choice_index":${choice},"tool_call":${tool}}\n\n`;
}
