import { context, Dealer, Subscriber } from 'zeromq';
import { readPublished, readReplayed, replayRequest } from './frames.ts';
import { type FeedTally, SequencedFeed, type SequencedMessage } from './sequenced-feed.ts';

export interface SubscriptionTally extends FeedTally {
  /** Frames that are no numbered message. */
  garbled(): void;
}

export interface SubscriptionOptions {
  /** tcp://HOST:PORT or ipc://PATH of the publisher's PUB socket. */
  readonly endpoint: string;
  /** Whether the endpoint is ours to open: engines connect to addresses without a wildcard. */
  readonly bind: boolean;
  /** The publisher's ROUTER socket, from which it replays. Absent: it has none. */
  readonly replayEndpoint?: string | undefined;
  /** Beginning of the topics wanted; empty for all. */
  readonly topic: string;
  /** Messages in the socket's queue, and as many in ours. */
  readonly maxWaiting: number;
  /** Longest silence within a replay. */
  readonly replayTimeoutMs: number;
  readonly tally: SubscriptionTally;
  /** The next message waits for the promise, if it returns one. */
  onMessage(message: SequencedMessage): void | Promise<void>;
  onReset(): void;
  /** The connection was made, or broke. */
  onConnection?(connected: boolean): void;
  timeOf(payload: Uint8Array): number | null;
}

/** Largest message that is taken, in bytes; a larger one ends the connection. */
const maxMessageBytes = 256 * 2 ** 20;
const heartbeatMs = 5000;

/** Publishers that one process may follow; each takes a socket, two that watch it and one while it replays. */
const maxPublishers = 4096;
// The library's own 1023 sockets would do for 255. It counts only before the first socket is made.
context.maxSockets = 4 * maxPublishers;

/**
 * Follows a ZeroMQ PUB socket of numbered messages until the signal aborts; reconnects by itself. Rejects at once with
 * the library's error when the endpoint cannot be opened.
 */
export async function followPublisher(o: SubscriptionOptions, signal: AbortSignal): Promise<void> {
  const { replayEndpoint, replayTimeoutMs } = o;
  const replay =
    replayEndpoint === undefined
      ? undefined
      : (from: number, ended: AbortSignal) =>
          replayFrom(replayEndpoint, from, { timeoutMs: replayTimeoutMs, ended, o });
  const feed = new SequencedFeed({ ...o, replay });
  const socket = new Subscriber({
    receiveHighWaterMark: o.maxWaiting,
    maxMessageSize: maxMessageBytes,
    linger: 0,
    reconnectInterval: 100,
    reconnectMaxInterval: 5000,
    heartbeatInterval: heartbeatMs,
    heartbeatTimeout: heartbeatMs * 3,
  });
  const close = (): void => socket.close();
  signal.addEventListener('abort', close, { once: true });
  try {
    if (signal.aborted) return;
    socket.events.on('handshake', () => {
      feed.connected();
      o.onConnection?.(true);
    });
    socket.events.on('disconnect', () => o.onConnection?.(false));
    socket.subscribe(o.topic);
    if (o.bind) await socket.bind(o.endpoint);
    else socket.connect(o.endpoint);
    await Promise.all([feed.run(signal), receive(socket, feed, o.tally)]);
  } catch (error) {
    // Closing the socket ends what waits for it.
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', close);
    close();
  }
}

async function receive(socket: Subscriber, feed: SequencedFeed, tally: SubscriptionTally): Promise<void> {
  for await (const frames of socket) {
    const message = readPublished(frames);
    if (message === null) tally.garbled();
    else feed.push(message);
  }
}

interface ReplayOptions {
  readonly timeoutMs: number;
  readonly ended: AbortSignal;
  readonly o: Pick<SubscriptionOptions, 'tally' | 'maxWaiting'>;
}

/** A socket for each replay: what comes late for one must not be taken for another's. Throws when nothing comes in time. */
async function* replayFrom(
  endpoint: string,
  from: number,
  { timeoutMs, ended, o }: ReplayOptions,
): AsyncGenerator<SequencedMessage> {
  const socket = new Dealer({
    linger: 0,
    receiveTimeout: timeoutMs,
    sendTimeout: timeoutMs,
    receiveHighWaterMark: o.maxWaiting,
    maxMessageSize: maxMessageBytes,
  });
  const close = (): void => socket.close();
  ended.addEventListener('abort', close, { once: true });
  try {
    socket.connect(endpoint);
    await socket.send(replayRequest(from));
    while (!ended.aborted) {
      const message = readReplayed(await socket.receive());
      if (message === 'end') return;
      if (message === null) o.tally.garbled();
      else yield message;
    }
  } finally {
    ended.removeEventListener('abort', close);
    close();
  }
}
