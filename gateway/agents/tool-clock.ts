/** A call that a model asked for, until its result comes. */
export interface OpenCall {
  readonly callId: string;
  readonly name: string;
  /** Unix time in milliseconds at which the answer with the call ended. */
  readonly startedMs: number;
}

/** A call whose result came. */
export interface EndedCall extends OpenCall {
  readonly endedMs: number;
}

export interface ToolClockOptions {
  readonly maxCalls: number;
  /** Milliseconds after which nobody waits for a result any more. */
  readonly ttlMs: number;
  readonly nowMs: () => number;
  readonly onForgotten: () => void;
}

/** Of identifiers and names that are kept: models make them up. */
const mostCharacters = 256;

/**
 * How long tools run, as the gateway can see it: from the end of the answer that has the call until the request that
 * brings the result. What the agent does besides is in it.
 */
export class ToolClock {
  readonly #o: ToolClockOptions;
  /** In the order of their starts. */
  readonly #open = new Map<string, OpenCall>();

  constructor(options: ToolClockOptions) {
    this.#o = options;
  }

  get open(): number {
    return this.#open.size;
  }

  /**
   * `scope`: whose identifiers these are; models may use the same ones in every conversation. Results of calls with long
   * identifiers are not waited for.
   */
  start(scope: string, callId: string, name: string): OpenCall {
    const startedMs = this.#o.nowMs();
    const call = { callId, name: name.slice(0, mostCharacters), startedMs };
    if (callId.length > mostCharacters) return call;
    const key = `${scope}\0${callId}`;
    this.#open.delete(key);
    this.#open.set(key, call);
    this.#forget(startedMs);
    return call;
  }

  /** The call that a result belongs to; null: nobody knows it, or its result came before. */
  end(scope: string, callId: string): EndedCall | null {
    const key = `${scope}\0${callId}`;
    const call = this.#open.get(key);
    if (call === undefined) return null;
    this.#open.delete(key);
    return { ...call, endedMs: this.#o.nowMs() };
  }

  #forget(nowMs: number): void {
    for (const [key, call] of this.#open) {
      if (this.#open.size <= this.#o.maxCalls && call.startedMs + this.#o.ttlMs > nowMs) return;
      this.#open.delete(key);
      this.#o.onForgotten();
    }
  }
}
