/** Time as the router reads it. Nothing but what clients say of times is ever compared with the time of day. */
export interface RouterClock {
  /** Monotonic milliseconds: all durations are differences of these. */
  nowMs(): number;
  /** Unix milliseconds, which may jump. */
  wallMs(): number;
  /** Calls back once after some time, and keeps no process alive for it; returns how to call it off. */
  after(ms: number, run: () => void): () => void;
  /** Calls back once after what happens now; returns how to call it off. */
  soon(run: () => void): () => void;
}

export const systemClock: RouterClock = {
  nowMs: () => performance.now(),
  wallMs: Date.now,
  after: (ms, run) => {
    const timer = setTimeout(run, ms).unref();
    return () => clearTimeout(timer);
  },
  soon: (run) => {
    const immediate = setImmediate(run);
    return () => clearImmediate(immediate);
  },
};
