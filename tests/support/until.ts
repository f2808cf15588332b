import { setTimeout as delay } from 'node:timers/promises';

/** Polls until `probe` gives something other than undefined or false. What it threw last becomes the cause of a timeout. */
export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let cause: unknown;
  while (Date.now() < deadline) {
    try {
      const found = await probe();
      if (found !== undefined && found !== false) return found;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    await delay(20);
  }
  throw new Error(`Not within ${timeoutMs} ms: ${what}`, { cause });
}
