import type { EngineState } from './engine-state.ts';

/** Decides what the next pass computes; the policy of one engine. */
export interface Scheduler {
  /** Puts the next pass together with the state's `take`, admitting and preempting as the engine would. */
  plan(state: EngineState, nowMs: number): void;
  /** Whether the next passes only decode, as long as no sequence ends and blocks suffice. */
  steady(state: EngineState): boolean;
  /** So many passes were made. */
  passed?(passes: number): void;
}
