/** Engine of every worker on every side; timing is the polynomials that both mockers have. */
export const engine = { blockSize: 64, kvBlocks: 8192, maxSequences: 256, maxBatchedTokens: 8192 } as const;
export const workers = 4;

/** Bounds of a good request. */
export const sla = { ttftMs: 300, itlMs: 20 } as const;

export type Policy = 'kv' | 'round-robin';

/** What one run has to know. */
export interface Run {
  readonly policy: Policy;
  /** Mooncake file. */
  readonly trace: string;
  /** Divides the times between arrivals. */
  readonly speedup: number;
}
