/** A call as a client ends up with it. */
export interface ObservedCall {
  readonly id: string;
  readonly name: string;
  arguments: string;
}

/** An answer as a client ends up with it, whole or put together from a stream. */
export interface Observed {
  content: string;
  reasoning: string;
  readonly calls: ObservedCall[];
  finish: string | null;
  /** What a stream did that it must not do. */
  readonly faults: string[];
}

/** An answer that is an error. */
export interface Refused {
  readonly status: number;
  /** The field at fault; empty: none was named. */
  readonly field: string;
  readonly message: string;
}

export function emptyAnswer(): Observed {
  return { content: '', reasoning: '', calls: [], finish: null, faults: [] };
}
