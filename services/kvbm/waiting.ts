/** Resolves when `wake` is called with it, after so long, or when the signal aborts; it leaves nothing behind. */
export async function wakened(
  timeoutMs: number,
  signal: AbortSignal,
  onSleep: (wake: () => void) => void = () => {},
): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = (): void => resolve();
  const timer = setTimeout(wake, Math.max(1, timeoutMs));
  signal.addEventListener('abort', wake, { once: true });
  onSleep(wake);
  await promise;
  clearTimeout(timer);
  signal.removeEventListener('abort', wake);
}
