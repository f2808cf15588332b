/**
 * What a prompt consists of: run i is the first `lengths[i]` tokens of the content that `ids[i]` names. The same runs from the
 * start are the same prefix. Ids of a trace are not negative; those below name what only one request has.
 */
export interface PromptShape {
  readonly ids: Float64Array;
  readonly lengths: Uint32Array;
}

/** A request of a trace, of whichever format. */
export interface TraceRequest {
  /** Where it stands in its file, from 1; of a generated one its number. */
  readonly line: number;
  /** Empty: it has none. */
  readonly requestId: string;
  /** Empty: it belongs to none. */
  readonly sessionId: string;
  /**
   * What it waits for, beside its time: the request before it in its session, those of `waitFor`, or nothing. A request that
   * waits is sent `delayMs` after the last of those is over.
   */
  readonly follows: 'nothing' | 'session' | 'requests';
  readonly waitFor: readonly string[];
  /** Milliseconds on the trace's own clock; undefined: it says none. */
  readonly arrivalMs: number | undefined;
  /** Undefined in a session: the time between the two arrivals. */
  readonly delayMs: number | undefined;
  readonly prompt: PromptShape;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Content id of the output, where later prompts contain it. */
  readonly outputId: number | undefined;
  readonly priority: number;
  readonly strictPriority: number;
  readonly policyClass: string;
}

/** Everything that most requests do not say. */
export const plainRequest = {
  requestId: '',
  sessionId: '',
  follows: 'nothing',
  waitFor: [],
  arrivalMs: undefined,
  delayMs: undefined,
  outputId: undefined,
  priority: 0,
  strictPriority: 0,
  policyClass: '',
} as const satisfies Partial<TraceRequest>;

/** A prompt of equal blocks; the last may be filled in part. Tokens beyond the ids are the request's own (`ownId`). */
export function shapeOfBlocks(
  ids: readonly number[],
  blockTokens: number,
  promptTokens: number,
  ownId: number,
): PromptShape {
  const runs = Math.min(ids.length, Math.ceil(promptTokens / blockTokens));
  const rest = promptTokens - runs * blockTokens;
  const count = runs + (rest > 0 ? 1 : 0);
  const shape = { ids: new Float64Array(count), lengths: new Uint32Array(count) };
  for (let run = 0; run < runs; run++) {
    shape.ids[run] = ids[run] ?? 0;
    shape.lengths[run] = blockTokens;
  }
  if (rest > 0) {
    shape.ids[runs] = ownId;
    shape.lengths[runs] = rest;
  } else if (runs > 0) {
    shape.lengths[runs - 1] = blockTokens + rest;
  }
  return shape;
}

/** One prompt after another. */
export function joinShapes(first: PromptShape, second: PromptShape): PromptShape {
  const ids = new Float64Array(first.ids.length + second.ids.length);
  const lengths = new Uint32Array(ids.length);
  ids.set(first.ids);
  ids.set(second.ids, first.ids.length);
  lengths.set(first.lengths);
  lengths.set(second.lengths, first.lengths.length);
  return { ids, lengths };
}
