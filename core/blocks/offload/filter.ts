import type { TinyLfu } from '../eviction/tiny-lfu.ts';
import type { DoublingCounters } from './doubling-counters.ts';

/** A block that might be copied to a colder tier. */
export interface OffloadCandidate {
  /** Two words of the block's digest. */
  readonly low: number;
  readonly high: number;
  /** Whether the colder tier has it. */
  readonly isPresent: boolean;
}

/** What a filter says; all but `admit` are labels of a counter. */
export type OffloadVerdict = 'admit' | 'present' | 'rare';

/** Which blocks a path to a colder tier takes. */
export interface OffloadFilter {
  readonly name: string;
  judge(candidate: OffloadCandidate, nowMs: number): OffloadVerdict;
}

export function passAll(): OffloadFilter {
  return { name: 'pass_all', judge: () => 'admit' };
}

/** What the colder tier lacks. */
export function presence(): OffloadFilter {
  return { name: 'presence', judge: ({ isPresent }) => (isPresent ? 'present' : 'admit') };
}

/** What the colder tier lacks and was used more often than `threshold` lately (v2: 1). */
export function presenceLfu(frequencies: TinyLfu, threshold = 1): OffloadFilter {
  return {
    name: 'presence_lfu',
    judge({ low, high, isPresent }) {
      if (isPresent) return 'present';
      return frequencies.estimate(low, high) > threshold ? 'admit' : 'rare';
    },
  };
}

/** Spares a disk: what was offered or hit often enough within the last decay intervals (v1: at least 2). */
export function frequencyAdmission(counters: DoublingCounters, minFrequency = 2): OffloadFilter {
  return {
    name: 'frequency',
    judge({ low, high, isPresent }, nowMs) {
      const frequency = counters.touch(low, high, nowMs);
      if (isPresent) return 'present';
      return frequency >= minFrequency ? 'admit' : 'rare';
    },
  };
}
