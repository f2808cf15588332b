/** One line to the terminal. */
export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Seconds since `startMs`, for people. */
export function since(startMs: number): string {
  return `${((Date.now() - startMs) / 1000).toFixed(1)} s`;
}
