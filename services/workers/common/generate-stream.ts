import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import { StopMatcher } from '#core/tokens/stop-matcher.ts';
import {
  FinishReason,
  type GenerateRequest,
  type GenerateResponse,
  GenerateResponseSchema,
  type PositionLogprobs,
  UsageSchema,
} from '#gen/stator/engine/v1/generate_pb.ts';
import { KvHandoffSchema } from '#gen/stator/transfer/v1/handoff_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { FinishedInfo, PrefilledInfo } from '#lib/rpc/session/server.ts';
import type { EngineText } from './engine.ts';
import { Pulse } from './pulse.ts';
import { fromSequenceError, type SequenceSink } from './sequence.ts';

export interface GenerateStreamOptions {
  readonly request: GenerateRequest;
  /** Set when the request needs text. */
  readonly text: EngineText | undefined;
  /** Tokens that may lie unread. */
  readonly maxUnread: number;
  /** The rest of the sequence is not wanted. */
  readonly cancel: () => void;
}

/**
 * The answer to Generate: the engine fills it, the client empties it at its own pace. It never waits for the client: beyond
 * `maxUnread` the sequence ends with `slow_reader`.
 */
export class GenerateStream implements SequenceSink {
  readonly #o: GenerateStreamOptions;
  readonly #pulse = new Pulse();
  readonly #detokenizer: Detokenizer | null;
  readonly #stops: StopMatcher | null;
  readonly #wantsText: boolean;
  #part: GenerateResponse = create(GenerateResponseSchema);
  #dirty = false;
  #delivered = 0;
  #stopString: string | undefined;
  #end: FinishedInfo | undefined;
  #error: StatorError | undefined;

  constructor(options: GenerateStreamOptions) {
    this.#o = options;
    const { stop, output } = options.request;
    const table = options.text?.table;
    this.#wantsText = output?.text ?? false;
    this.#detokenizer =
      table === undefined ? null : new Detokenizer(table, { specialTokens: output?.specialTokens ?? false });
    const stops = stop?.stopStrings ?? [];
    this.#stops = stops.length === 0 ? null : new StopMatcher(stops, { include: stop?.includeStopString ?? false });
  }

  addToken(tokenId: number): number {
    const { tokenIds } = this.#part;
    if (this.#closed) return 0;
    if (tokenIds.length >= this.#o.maxUnread) {
      this.#fail(
        new StatorError('slow_reader', `the client left ${tokenIds.length} tokens unread`, {
          facts: { limit: this.#o.maxUnread },
        }),
      );
      return 0;
    }
    tokenIds.push(tokenId);
    this.#delivered++;
    if (this.#detokenizer !== null) this.#addText(this.#detokenizer.push(tokenId));
    this.#wake();
    return tokenIds.length - 1;
  }

  addLogprobs(_entry: number, position: PositionLogprobs): void {
    if (this.#closed && this.#part.logprobs.length >= this.#part.tokenIds.length) return;
    this.#part.logprobs.push(position);
  }

  prefilled(info: PrefilledInfo): void {
    const positions = (info.promptLogprobs ?? []) as PositionLogprobs[];
    if (this.#closed || positions.length === 0) return;
    this.#part.promptLogprobs.push(...positions);
    this.#wake();
  }

  finished(info: FinishedInfo): void {
    if (this.#end !== undefined || this.#error !== undefined) return;
    const { error } = info;
    if (error !== undefined && this.#stopString === undefined) {
      this.#fail(fromSequenceError(error));
      return;
    }
    if (this.#detokenizer !== null && this.#stopString === undefined) this.#addText(this.#detokenizer.end());
    if (this.#stops !== null && this.#stopString === undefined && this.#wantsText) this.#part.text += this.#stops.end();
    this.#end = info;
    this.#wake();
  }

  /** What the client gets. Ends with the sequence; throws what it failed with. */
  async *read(signal: AbortSignal): AsyncGenerator<GenerateResponse> {
    for (;;) {
      if (signal.aborted) return;
      if (this.#error !== undefined) throw this.#error;
      if (this.#end !== undefined) {
        yield this.#last(this.#end);
        return;
      }
      if (this.#dirty) yield this.#take();
      else await this.#pulse.wait(signal);
    }
  }

  get #closed(): boolean {
    return this.#end !== undefined || this.#error !== undefined || this.#stopString !== undefined;
  }

  #addText(text: string): void {
    if (this.#stops === null) {
      if (this.#wantsText) this.#part.text += text;
      return;
    }
    const match = this.#stops.push(text);
    if (this.#wantsText) this.#part.text += match.text;
    if (match.stopped === null) return;
    this.#stopString = match.stopped;
    this.#o.cancel();
  }

  #fail(error: StatorError): void {
    this.#error = error;
    this.#part = create(GenerateResponseSchema);
    this.#o.cancel();
    this.#wake();
  }

  #wake(): void {
    this.#dirty = true;
    this.#pulse.fire();
  }

  #take(): GenerateResponse {
    const part = this.#part;
    this.#part = create(GenerateResponseSchema);
    this.#dirty = false;
    return part;
  }

  #last(end: FinishedInfo): GenerateResponse {
    const part = this.#take();
    const stopped = this.#stopString !== undefined;
    part.finishReason = stopped ? FinishReason.STOP : (end.reason ?? FinishReason.UNSPECIFIED);
    part.usage = create(UsageSchema, { ...end.usage, outputTokens: this.#delivered } as MessageInitShape<
      typeof UsageSchema
    >);
    if (this.#stopString !== undefined) part.stopString = this.#stopString;
    else if (end.stopTokenId !== undefined) part.stopTokenId = end.stopTokenId;
    if (end.handoff !== undefined) part.handoff = create(KvHandoffSchema, end.handoff);
    return part;
  }
}
