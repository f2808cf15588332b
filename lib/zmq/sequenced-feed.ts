import { setImmediate as nextTurn } from 'node:timers/promises';

/** One message of a publisher that numbers its messages from 0 without gaps. */
export interface SequencedMessage {
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** Told what becomes of messages. */
export interface FeedTally {
  /** Passed on; `replayed` when it came from the publisher's memory. */
  delivered(replayed: boolean): void;
  /** So many messages were missing when another came. */
  gap(messages: number): void;
  /** So many messages cannot be had any more. */
  lost(messages: number): void;
  /** A message came again, or too late. */
  stale(): void;
  /** A message found no room while others waited. */
  overflowed(): void;
  /** The publisher began anew. */
  restarted(): void;
  replayFailed(error: unknown): void;
}

export interface FeedOptions {
  /** The next message waits for the promise, if it returns one. */
  onMessage(message: SequencedMessage): void | Promise<void>;
  /** The publisher began anew: what it said before is void. */
  onReset(): void;
  /** What the publisher remembers, from this number on and in order. Absent: it remembers nothing. */
  readonly replay?: ((from: number, signal: AbortSignal) => AsyncIterable<SequencedMessage>) | undefined;
  /** When the publisher made a message, in any unit; null when it cannot be told. */
  timeOf(payload: Uint8Array): number | null;
  /** Messages that may wait, for example while others are replayed. */
  readonly maxWaiting: number;
  readonly tally: FeedTally;
}

/** Replays for one stretch of missing messages at most. A publisher that replays too fast drops some of them. */
const maxReplays = 8;

/** A publisher that does not answer is asked at every second gap, then at every fourth, and so on up to this. */
const maxSkips = 63;

/** Stands between the messages of one connection and those of the next. */
const connection = Symbol('connection');

/** Messages after which the event loop gets its turn. */
const messagesPerTurn = 256;

/**
 * Puts a lossy, numbered stream in order: messages pass once and in sequence, gaps are filled from the publisher's memory
 * where it has one, and a publisher that began anew is told from one that repeats itself. What cannot be had is counted
 * as lost, and the stream goes on without it.
 */
export class SequencedFeed {
  readonly #o: FeedOptions;
  #waiting: (SequencedMessage | typeof connection)[] = [];
  #wake: (() => void) | undefined;
  #last: SequencedMessage | undefined;
  /** Messages found no room, and perhaps no later one will show that they are missing. */
  #incomplete = false;
  /** The connection was made anew, so the publisher may be another. */
  #doubtful = false;
  #failures = 0;
  /** Gaps for which no replay is asked. */
  #skips = 0;

  constructor(o: FeedOptions) {
    this.#o = o;
  }

  /** Number of the newest message that was passed on; -1 before the first. */
  get newest(): number {
    return this.#last?.sequence ?? -1;
  }

  push(message: SequencedMessage): void {
    if (this.#waiting.length >= this.#o.maxWaiting) {
      this.#incomplete = true;
      this.#o.tally.overflowed();
      return;
    }
    this.#waiting.push(message);
    this.#wake?.();
  }

  /** The connection was made, for the first time or again. */
  connected(): void {
    if (this.#waiting.at(-1) !== connection) this.#waiting.push(connection);
    this.#wake?.();
  }

  /** Passes messages on until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const wake = (): void => this.#wake?.();
    signal.addEventListener('abort', wake, { once: true });
    while (!signal.aborted) {
      const waiting = this.#waiting;
      this.#waiting = [];
      const incomplete = this.#incomplete;
      this.#incomplete = false;
      for (const [index, message] of waiting.entries()) {
        if (signal.aborted) break;
        await this.#take(message, signal);
        if (index % messagesPerTurn === messagesPerTurn - 1) await nextTurn();
      }
      if (incomplete) await this.#replay(signal);
      if (this.#waiting.length > 0 || this.#incomplete || signal.aborted) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    signal.removeEventListener('abort', wake);
  }

  async #take(message: SequencedMessage | typeof connection, signal: AbortSignal): Promise<void> {
    if (message === connection) {
      this.#doubtful = this.#last !== undefined;
      this.#skips = 0;
      return this.#replay(signal);
    }
    if (this.#isRestart(message)) this.#restart();
    let missing = message.sequence - this.newest - 1;
    if (missing < 0) return this.#o.tally.stale();
    if (missing > 0 && !signal.aborted) {
      if (this.#last !== undefined) this.#o.tally.gap(missing);
      await this.#replay(signal);
      missing = message.sequence - this.newest - 1;
      // The replay brought it.
      if (missing < 0) return;
    }
    await this.#deliver(message, false);
  }

  /** A number that was seen already, on a newer message or over a new connection, is a new publisher's. */
  #isRestart({ sequence, payload }: SequencedMessage): boolean {
    if (this.#last === undefined) return false;
    if (this.#doubtful && sequence !== this.newest + 1) return true;
    if (sequence > this.newest) return false;
    const [now, before] = [this.#o.timeOf(payload), this.#o.timeOf(this.#last.payload)];
    return now !== null && before !== null && now > before;
  }

  #restart(): void {
    this.#last = undefined;
    this.#doubtful = false;
    this.#o.tally.restarted();
    this.#o.onReset();
  }

  /** What is missing before the message is lost now. Nothing is known of what came before the first one. */
  #deliver(message: SequencedMessage, replayed: boolean): void | Promise<void> {
    const missing = message.sequence - this.newest - 1;
    if (this.#last !== undefined && missing > 0) this.#o.tally.lost(missing);
    this.#last = message;
    this.#doubtful = false;
    this.#o.tally.delivered(replayed);
    return this.#o.onMessage(message);
  }

  /** Takes what the publisher remembers after the newest message, as often as that brings more. */
  async #replay(signal: AbortSignal): Promise<void> {
    const { replay, tally } = this.#o;
    if (replay === undefined) return;
    if (this.#skips > 0) {
      this.#skips--;
      return;
    }
    for (let tries = 0; tries < maxReplays && !signal.aborted; tries++) {
      const before = this.#last;
      let complete = false;
      try {
        complete = await this.#replayOnce(replay(Math.max(0, this.newest), signal));
        this.#failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        this.#failures++;
        tally.replayFailed(error);
      }
      if (complete || this.#last === before) break;
    }
    this.#skips = Math.min(2 ** this.#failures - 1, maxSkips);
  }

  /**
   * The newest message is asked for again: when it is not what it was, the publisher is another. False when there is
   * more to ask for: from the new publisher's beginning, or what was dropped in the middle.
   */
  async #replayOnce(messages: AsyncIterable<SequencedMessage>): Promise<boolean> {
    const known = this.#last;
    let first = true;
    for await (const message of messages) {
      if (first && known !== undefined && this.#isAnother(known, message)) {
        this.#restart();
        return false;
      }
      if (!first && message.sequence > this.newest + 1) return false;
      first = false;
      if (message.sequence > this.newest) await this.#deliver(message, true);
    }
    if (!first || !this.#doubtful) return true;
    this.#restart();
    return false;
  }

  /** A publisher that has forgotten the newest message is believed to be the same, unless the connection is new. */
  #isAnother(known: SequencedMessage, { sequence, payload }: SequencedMessage): boolean {
    if (sequence !== known.sequence) return this.#doubtful;
    if (Buffer.compare(known.payload, payload) !== 0) return true;
    this.#doubtful = false;
    return false;
  }
}
