/** Time as the router reads it. Nothing but what clients say of times is ever compared with the time of day. */
export interface RouterClock {
  /** Monotonic milliseconds: all durations are differences of these. */
  nowMs(): number;
  /** Unix milliseconds, which may jump. */
  wallMs(): number;
}

export const systemClock: RouterClock = { nowMs: () => performance.now(), wallMs: Date.now };
