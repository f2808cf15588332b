import type { ServerHttp2Session } from 'node:http2';

/** Pings a client that may be gone without a word, and drops the connection when no answer comes. */
export function keepAlive(session: ServerHttp2Session, intervalMs: number, timeoutMs: number): void {
  let waiting: NodeJS.Timeout | undefined;
  const timer = setInterval(() => {
    if (waiting !== undefined || session.destroyed || session.closed) return;
    waiting = setTimeout(() => session.destroy(), timeoutMs);
    waiting.unref();
    const sent = session.ping(() => {
      clearTimeout(waiting);
      waiting = undefined;
    });
    if (!sent) {
      clearTimeout(waiting);
      waiting = undefined;
    }
  }, intervalMs);
  timer.unref();
  session.once('close', () => {
    clearInterval(timer);
    clearTimeout(waiting);
  });
}
