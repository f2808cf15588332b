import type { IEvent, IWatchCreateRequest, IWatchResponse } from 'etcd3';
import type { EtcdConnection } from './etcd-link.ts';

/** The watch must start over with a listing, on the same connection: nothing speaks against that. */
export class WatchRestart extends Error {
  override readonly name = 'WatchRestart';
}

export interface WatchStreamOptions {
  readonly range: IWatchCreateRequest;
  /** Milliseconds between two questions for progress; after two without any answer the link counts as dead. */
  readonly progressMs: number;
  readonly signal: AbortSignal;
  created(): void;
  event(event: IEvent): void;
  /** Anything came: the server is there. */
  alive(): void;
}

/**
 * Follows a key range until something ends the watch, and then rejects with the cause; resolves only when the signal aborts.
 * Asks for progress all the time, because neither etcd3 nor TCP notices a server that merely stopped answering.
 */
export async function followRange(connection: EtcdConnection, o: WatchStreamOptions): Promise<void> {
  const stream = await connection.etcd.watchClient.watch();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Cancelling the stream is an error to it, also when nobody waits any more.
  promise.catch(() => undefined);
  let unanswered = 0;
  const progress = setInterval(() => {
    if (unanswered >= 2) return reject(new Error(`etcd watch made no progress for ${2 * o.progressMs} ms`));
    unanswered += 1;
    stream.write({ progress_request: {} });
  }, o.progressMs);
  const aborted = () => resolve();
  o.signal.addEventListener('abort', aborted);
  stream
    .on('data', (response) => {
      unanswered = 0;
      o.alive();
      const cause = causeOfCancel(response);
      if (cause !== undefined) reject(cause);
      else if (response.created) o.created();
      else for (const event of response.events) o.event(event);
    })
    .on('error', reject)
    .on('end', () => reject(new Error('etcd ended the watch stream')));
  try {
    if (o.signal.aborted) return;
    stream.write({ create_request: { ...o.range, progress_notify: true } });
    await promise;
  } finally {
    clearInterval(progress);
    o.signal.removeEventListener('abort', aborted);
    stream.cancel();
  }
}

function causeOfCancel(response: IWatchResponse): Error | undefined {
  if (!response.canceled) return undefined;
  if (Number(response.compact_revision) > 0) {
    return new WatchRestart(`etcd compacted its history up to revision ${response.compact_revision}`);
  }
  return new Error(`etcd cancelled the watch: ${response.cancel_reason}`);
}
