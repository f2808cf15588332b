/** What came of some tests. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  /** One line for every failure and for every reason to skip. */
  notes: string[];
}

export function emptyTally(): Tally {
  return { passed: 0, failed: 0, skipped: 0, notes: [] };
}

export function addTally(total: Tally, part: Tally): void {
  total.passed += part.passed;
  total.failed += part.failed;
  total.skipped += part.skipped;
  total.notes.push(...part.notes);
}

/** The one line with which a test run ends. */
export function summary({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
