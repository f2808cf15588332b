/** Takes what it writes to the terminal by `show`. */
export type Job<Result> = (show: (text: string) => void) => Promise<Result>;

/**
 * Runs jobs, so many at once, and writes what they show in the order of the jobs: of the first that has not ended at once,
 * of others when it is their turn. Results come in the order of the jobs. A job may not fail.
 */
export async function sideBySide<Result>(
  jobs: readonly Job<Result>[],
  atOnce: number,
  write: (text: string) => void,
): Promise<Result[]> {
  const runs = jobs.map((job) => ({ job, held: '', ended: false, result: undefined as Result | undefined }));
  const waiting = runs.values();
  let turn = 0;

  const takeTurns = (): void => {
    for (;;) {
      const run = runs[turn];
      if (run === undefined) return;
      write(run.held);
      run.held = '';
      if (!run.ended) return;
      turn += 1;
    }
  };
  const lane = async (): Promise<void> => {
    // The lanes share the iterator: each takes the next job that nobody has.
    for (const run of waiting) {
      run.result = await run.job((text) => {
        run.held += text;
        if (runs[turn] === run) takeTurns();
      });
      run.ended = true;
      if (runs[turn] === run) takeTurns();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return runs.map(({ result }) => result as Result);
}
