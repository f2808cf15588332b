import type { AnswerPlan } from '../api/translate/job.ts';
import type { Choice, ChoiceFinish } from '../pipeline/choice.ts';
import type { Generation } from '../pipeline/generation.ts';
import { escapeJson } from '../sse/json-escape.ts';
import { renderChatLogprobs, renderCompletionLogprobs, type TokenStyle } from './logprobs.ts';

export const doneEvent = 'data: [DONE]\n\n';

/** The prebuilt text of a choice's chunks: only the escaped delta stands between head and tail. */
interface ChoiceFrame {
  readonly role: string;
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

  constructor(plan: AnswerPlan) {
    this.#plan = plan;
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

  /** The last chunk of a choice. */
  finish(index: number, finish: ChoiceFinish, usage: string | null, nvext: string | null): string {
    const content = this.#plan.kind === 'chat' ? '"delta":{}' : '"text":""';
    const close = usage === null ? this.#close : `],"usage":${usage}}\n\n`;
    const body = `${this.#open}{"index":${index},${content},"logprobs":null,"finish_reason":"${finish.reason}"}`;
    return nvext === null ? body + close : `${body}${close.slice(0, -3)},"nvext":${nvext}}\n\n`;
  }

  /** The chunk after all choices that `include_usage` asks for. */
  usage(usage: string): string {
    return `${this.#open}],"usage":${usage}}\n\n`;
  }

  /** Completions: characters of an echoed prompt come before the first token. */
  skipText(index: number, characters: number): void {
    this.#frame(index).textOffset += characters;
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
      head: chat ? `${start}"delta":{"content":"` : `${start}"text":"`,
      textOffset: 0,
    };
    this.#frames[index] = frame;
    return frame;
  }
}

/** The `nvext` object of an answer, as JSON; null where nothing of it was asked for. */
export function renderNvext(plan: AnswerPlan, generation: Generation, choice: Choice): string | null {
  if (plan.extraFields.size === 0) return null;
  const parts: string[] = [];
  if (plan.extraFields.has('worker_id')) {
    const worker = `"prefill_worker_id":"${generation.instanceId}","prefill_dp_rank":${generation.dataParallelRank}`;
    const decode = `"decode_worker_id":"${generation.instanceId}","decode_dp_rank":${generation.dataParallelRank}`;
    parts.push(`"worker_id":{${worker},${decode}}`);
  }
  if (plan.extraFields.has('timing')) parts.push(`"timing":${renderTiming(generation)}`);
  if (plan.extraFields.has('stop_reason')) {
    const { finish } = choice;
    const stopString = finish?.stopString ?? null;
    const reason = stopString === null ? String(finish?.stopTokenId ?? null) : `"${escapeJson(stopString)}"`;
    parts.push(`"stop_reason":${reason}`);
  }
  if (plan.extraFields.has('completion_token_ids')) parts.push(`"completion_token_ids":[${choice.tokenIds.join(',')}]`);
  if (plan.extraFields.has('prompt_token_ids'))
    parts.push(`"prompt_token_ids":[${generation.prompt.tokenIds.join(',')}]`);
  return `{${parts.join(',')}}`;
}

function renderTiming(generation: Generation): string {
  const { times } = generation;
  const since = (ms: number): string => (ms === 0 ? 'null' : (ms - times.receivedMs).toFixed(3));
  const received = (performance.timeOrigin + times.receivedMs).toFixed(3);
  return `{"request_received_ms":${received},"ttft_ms":${since(times.firstTokenMs)},"total_time_ms":${since(performance.now())}}`;
}
