import type { AnswerPlan } from '../api/translate/job.ts';
import type { Choice } from '../pipeline/choice.ts';
import { escapeJson } from '../sse/json-escape.ts';
import { renderDelta } from './chat-parts.ts';
import { DispatchEvents } from './dispatch-events.ts';
import { renderChatLogprobs, renderCompletionLogprobs, type TokenStyle } from './logprobs.ts';

export const doneEvent = 'data: [DONE]\n\n';

/** The prebuilt text of a choice's chunks: only the escaped delta stands between head and tail. */
interface ChoiceFrame {
  readonly role: string;
  readonly start: string;
  readonly head: string;
  /** Characters of completion text so far, for `text_offset`. */
  textOffset: number;
}

/** Renders the chunks of one streamed answer. */
export class ChunkFormat {
  readonly #plan: AnswerPlan;
  readonly #open: string;
  readonly #close: string;
  readonly #tail: string;
  readonly #frames: ChoiceFrame[] = [];
  readonly #dispatches: DispatchEvents | null;

  constructor(plan: AnswerPlan) {
    this.#plan = plan;
    const { calls, reasoning } = plan.dispatches;
    this.#dispatches = calls || reasoning ? new DispatchEvents(plan.dispatches) : null;
    const object = plan.kind === 'chat' ? 'chat.completion.chunk' : 'text_completion';
    this.#open =
      `data: {"id":"${plan.id}","object":"${object}","created":${plan.createdUnix},` +
      `"model":"${escapeJson(plan.model)}","system_fingerprint":"${plan.fingerprint}","choices":[`;
    this.#close = plan.stream.includeUsage ? '],"usage":null}\n\n' : ']}\n\n';
    const rest = `"logprobs":null,"finish_reason":null}${this.#close}`;
    this.#tail = plan.kind === 'chat' ? `"},${rest}` : `",${rest}`;
  }

  /** Whether everything but deltas is one byte a character. */
  get plainAscii(): boolean {
    return !/[^\0-\x7f]/.test(this.#open);
  }

  /** The first chunk of a choice; empty where the API has none. */
  opening(index: number): string {
    return this.#frame(index).role;
  }

  /** A chunk with text, without log-probabilities: the hot path. `escaped` is the inside of a JSON string. */
  delta(index: number, escaped: string): string {
    return this.#frame(index).head + escaped + this.#tail;
  }

  /** The same with usage so far, which changes from chunk to chunk. */
  deltaWithUsage(index: number, escaped: string, usage: string): string {
    const chat = this.#plan.kind === 'chat' ? '}' : '';
    return `${this.#frame(index).head}${escaped}"${chat},"logprobs":null,"finish_reason":null}],"usage":${usage}}\n\n`;
  }

  /** A chunk with text and the log-probabilities of its tokens. */
  deltaWithLogprobs(choice: Choice, escaped: string, style: TokenStyle, usage: string | null): string {
    const frame = this.#frame(choice.index);
    const positions = choice.takeLogprobs();
    let logprobs: string;
    if (this.#plan.kind === 'chat') logprobs = renderChatLogprobs(positions, style);
    else {
      const rendered = renderCompletionLogprobs(positions, style, frame.textOffset);
      frame.textOffset = rendered.nextOffset;
      logprobs = rendered.json;
    }
    const chat = this.#plan.kind === 'chat' ? '}' : '';
    const close = usage === null ? this.#close : `],"usage":${usage}}\n\n`;
    return `${frame.head}${escaped}"${chat},"logprobs":${logprobs},"finish_reason":null}${close}`;
  }

  /**
   * The chunks of a parsed chat answer, one for each part that chunks tell of. `style`: the log-probabilities of all their
   * tokens go with the first, or with a chunk of their own while the text is withheld. `always`: there is a chunk even if
   * there is nothing to tell.
   */
  parts(choice: Choice, o: { style: TokenStyle | null; usage: string | null; always: boolean }): string {
    const { style, usage } = o;
    const { start } = this.#frame(choice.index);
    const close = usage === null ? this.#close : `],"usage":${usage}}\n\n`;
    const positions = style === null ? [] : choice.takeLogprobs();
    let logprobs = style === null || positions.length === 0 ? 'null' : renderChatLogprobs(positions, style);
    let [out, dispatched] = ['', ''];
    const chunk = (delta: string): void => {
      out += `${start}"delta":${delta},"logprobs":${logprobs},"finish_reason":null}${close}`;
      logprobs = 'null';
    };
    for (const part of choice.takeParts()) {
      const delta = renderDelta(part, this.#plan.reasoningField);
      if (delta !== '') chunk(delta);
      if (this.#dispatches !== null) dispatched += this.#dispatches.part(choice.index, part);
    }
    if (logprobs !== 'null' || (o.always && out === '')) chunk('{}');
    // In front, because fields are added to what comes last.
    return dispatched + out;
  }

  /** The last chunk of a choice. */
  finish({ index, finishReason }: Choice, usage: string | null): string {
    const content = this.#plan.kind === 'chat' ? '"delta":{}' : '"text":""';
    const close = usage === null ? this.#close : `],"usage":${usage}}\n\n`;
    const ended = this.#dispatches?.end(index) ?? '';
    return `${ended}${this.#open}{"index":${index},${content},"logprobs":null,"finish_reason":"${finishReason}"}${close}`;
  }

  /** The chunk after all choices that `include_usage` asks for. */
  usage(usage: string): string {
    return `${this.#open}],"usage":${usage}}\n\n`;
  }

  /** A chunk without choices. */
  empty(): string {
    return `${this.#open}${this.#close}`;
  }

  /** Completions: the prompt in front of the text, with the log-probabilities of its tokens where they are asked for. */
  echo(index: number, escaped: string, logprobs: { json: string; nextOffset: number } | null): string {
    const frame = this.#frame(index);
    if (logprobs === null) return this.delta(index, escaped);
    frame.textOffset = logprobs.nextOffset;
    return `${frame.head}${escaped}","logprobs":${logprobs.json},"finish_reason":null}${this.#close}`;
  }

  #frame(index: number): ChoiceFrame {
    const known = this.#frames[index];
    if (known !== undefined) return known;
    const chat = this.#plan.kind === 'chat';
    const start = `${this.#open}{"index":${index},`;
    const frame: ChoiceFrame = {
      role: chat
        ? `${start}"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}${this.#close}`
        : '',
      start,
      head: chat ? `${start}"delta":{"content":"` : `${start}"text":"`,
      textOffset: 0,
    };
    this.#frames[index] = frame;
    return frame;
  }
}
