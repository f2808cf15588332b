import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';

/** For tests: resolves once the condition holds; fails, naming it, where it does not within ten seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await delay(1);
  }
}

/** Lets everything run that needs no timer. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 6; i++) await turn();
}
