/** When things happened, in milliseconds of the monotonic clock; 0: not yet. */
export interface GenerationTimes {
  readonly receivedMs: number;
  preprocessedMs: number;
  /** When the last placement before the first token was decided. */
  routedMs: number;
  /** When the worker of the first token began the prompt, as it says. */
  prefillBeganMs: number;
  firstTokenMs: number;
  lastTokenMs: number;
  /** When a worker that decodes only was found, and when it had the KV and its first token; of several choices the first. */
  decodeRoutedMs: number;
  decodeBeganMs: number;
}

export function startTimes(receivedMs: number, preprocessedMs: number): GenerationTimes {
  const prefill = { routedMs: 0, prefillBeganMs: 0, firstTokenMs: 0, lastTokenMs: 0 };
  return { receivedMs, preprocessedMs, ...prefill, decodeRoutedMs: 0, decodeBeganMs: 0 };
}
