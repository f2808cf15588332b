import type { Generation } from './generation.ts';

/** Where the time of an answer went, in milliseconds. null: nobody measured it. */
export interface Timing {
  /** Unix time of the arrival. */
  readonly receivedUnixMs: number;
  /** From the arrival until the worker of the first token began the prompt. */
  readonly prefillWaitMs: number | null;
  /** From then until the first token: with the wait, the time to the first token. */
  readonly prefillMs: number | null;
  readonly firstTokenMs: number | null;
  /** From the first token until the worker that decodes had the KV and a token of its own; null also where one worker does both. */
  readonly handoffMs: number | null;
  /** Until now. */
  readonly totalMs: number;
  /** Share of the prompt that the worker of the first token found cached. */
  readonly kvHitRate: number | null;
  /** Requests that waited in the router's queue when this one came. */
  readonly routerQueueDepth: number | null;
}

export function timingOf({ times, prompt, cachedTokens, decision }: Generation): Timing {
  const { receivedMs, prefillBeganMs, firstTokenMs, decodeBeganMs } = times;
  const told = prefillBeganMs > 0;
  const since = (beginMs: number, endMs: number): number => Math.max(0, endMs - beginMs);
  return {
    receivedUnixMs: performance.timeOrigin + receivedMs,
    prefillWaitMs: told ? since(receivedMs, prefillBeganMs) : null,
    prefillMs: told && firstTokenMs > 0 ? since(prefillBeganMs, firstTokenMs) : null,
    firstTokenMs: firstTokenMs > 0 ? since(receivedMs, firstTokenMs) : null,
    handoffMs: decodeBeganMs > 0 ? since(firstTokenMs, decodeBeganMs) : null,
    totalMs: since(receivedMs, performance.now()),
    kvHitRate: told ? cachedTokens / prompt.tokenIds.length : null,
    routerQueueDepth: decision?.queueDepth ?? null,
  };
}
