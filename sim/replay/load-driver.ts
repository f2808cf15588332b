import { StatorError } from '#lib/errors/errors.ts';
import type { VirtualClock } from '../clock/virtual-clock.ts';
import type { TraceRequest } from '../traces/trace-request.ts';

/** Time, virtual or real. */
type LoadClock = Pick<VirtualClock, 'nowMs' | 'after'>;

export interface LoadOptions {
  /** Requests in flight, instead of the trace's times; undefined: its times. */
  readonly concurrency: number | undefined;
  /** Divides the times between arrivals and the delays of sessions. */
  readonly speedup: number;
  /** Milliseconds between two arrivals, instead of the trace's times; undefined: its times. */
  readonly intervalMs: number | undefined;
  /** Requests after which the trace counts as over. */
  readonly maxRequests: number;
}

/** A session, as far as it matters for its next request. */
interface Session {
  /** Turns that came while one before them was not over. */
  readonly parked: TraceRequest[];
  busy: boolean;
  arrivalMs: number | undefined;
  overMs: number;
}

/** A request that waits for others. */
interface Waiter {
  readonly request: TraceRequest;
  missing: number;
}

const readAhead = 256;
/** Turns and steps that may wait for earlier ones: what a trace can make the driver hold. */
const maxHeld = 1_000_000;

/** Sends the requests of a trace when it is their time. Holds what waits for requests before it, and a few rows ahead. */
export class LoadDriver {
  readonly #rows: AsyncIterator<TraceRequest>;
  readonly #clock: LoadClock;
  readonly #options: LoadOptions;
  readonly #send: (request: TraceRequest, done: () => void) => void;
  readonly #buffer: TraceRequest[] = [];
  #read = 0;
  #ended = false;
  #wants = true;
  readonly #sessions = new Map<string, Session>();
  readonly #over = new Set<string>();
  readonly #waiters = new Map<string, Waiter[]>();
  /** Due, but too many are in flight. */
  readonly #ready: TraceRequest[] = [];
  #held = 0;
  #scheduled = 0;
  #inFlight = 0;
  #heads = 0;
  #baseMs = 0;
  #firstArrivalMs = 0;

  constructor(o: {
    requests: AsyncIterable<TraceRequest>;
    clock: LoadClock;
    options: LoadOptions;
    /** `done` must be called when the request is over. */
    send(request: TraceRequest, done: () => void): void;
  }) {
    this.#rows = o.requests[Symbol.asyncIterator]();
    this.#clock = o.clock;
    this.#options = o.options;
    this.#send = o.send;
  }

  /** Whether rows must be read (`fill`) before time goes on. */
  get wants(): boolean {
    return this.#wants;
  }

  /** Nothing is in flight and nothing will be sent. */
  get isOver(): boolean {
    const waiting = this.#held + this.#scheduled + this.#ready.length + this.#inFlight + this.#buffer.length;
    return this.#ended && !this.#wants && waiting === 0;
  }

  /** Nothing goes on by itself any more although it is not over: what waits, waits for what never ends. */
  get isStuck(): boolean {
    const moving = this.#scheduled + this.#ready.length + this.#inFlight + this.#buffer.length;
    return this.#ended && !this.#wants && moving === 0 && this.#held > 0;
  }

  /** Throws what is wrong with the next rows. */
  async fill(): Promise<void> {
    while (!this.#ended && this.#buffer.length < readAhead) {
      const next = this.#read < this.#options.maxRequests ? await this.#rows.next() : ({ done: true } as const);
      if (next.done === true) this.#ended = true;
      else {
        this.#read++;
        this.#buffer.push(next.value);
      }
    }
    this.#wants = false;
    this.#pump();
  }

  /** Ends the reading of the trace. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#rows.return?.();
  }

  /** Why nothing goes on although it is not over. */
  stuck(): StatorError {
    const [missing, waiters] = this.#waiters.entries().next().value ?? [];
    const line = waiters?.[0]?.request.line;
    return missing === undefined
      ? new StatorError('internal', 'The replay stopped before its trace was over.')
      : StatorError.invalid(
          'wait_for',
          `Line ${line} of the trace waits for the request ${missing}, which never ends.`,
        );
  }

  /** Goes on to the next request that waits for no other, and schedules or sends it. */
  #pump(): void {
    const { concurrency } = this.#options;
    if (concurrency === undefined) {
      this.#scheduleHead();
      return;
    }
    for (;;) {
      while (this.#inFlight < concurrency && this.#ready.length > 0) {
        const request = this.#ready.shift();
        if (request !== undefined) this.#start(request);
      }
      if (this.#inFlight >= concurrency) return;
      const head = this.#takeHead();
      if (head === undefined) return;
      this.#start(head);
    }
  }

  #scheduleHead(): void {
    const head = this.#takeHead();
    if (head === undefined) return;
    this.#at(this.#headMs(head), () => {
      this.#start(head);
      this.#pump();
    });
  }

  #headMs({ arrivalMs, line }: TraceRequest): number {
    const { intervalMs, speedup } = this.#options;
    const nth = this.#heads++;
    if (nth === 0) this.#baseMs = this.#clock.nowMs;
    if (intervalMs !== undefined) return this.#baseMs + (nth * intervalMs) / speedup;
    if (arrivalMs === undefined)
      throw StatorError.invalid(
        'timestamp',
        `Line ${line} of the trace has no time and follows nothing: replay it by --concurrency or --arrival-interval-ms.`,
      );
    if (nth === 0) this.#firstArrivalMs = arrivalMs;
    return this.#baseMs + (arrivalMs - this.#firstArrivalMs) / speedup;
  }

  /** The next row that waits for nothing but its time. Rows before it that wait for others are put aside. */
  #takeHead(): TraceRequest | undefined {
    for (;;) {
      const row = this.#buffer.shift();
      if (row === undefined) {
        this.#wants = !this.#ended;
        return undefined;
      }
      if (!this.#putAside(row)) return row;
    }
  }

  #putAside(row: TraceRequest): boolean {
    if (row.follows === 'requests') {
      this.#await(row);
      return true;
    }
    if (row.follows !== 'session') return false;
    const session = this.#sessions.get(row.sessionId);
    if (session === undefined) {
      this.#open(row);
      return false;
    }
    if (session.busy) {
      this.#hold(row);
      session.parked.push(row);
    } else this.#continue(session, row);
    return true;
  }

  #open({ sessionId, arrivalMs }: TraceRequest): void {
    this.#sessions.set(sessionId, { parked: [], busy: true, arrivalMs, overMs: 0 });
    if (this.#sessions.size <= maxHeld) return;
    for (const [id, { busy }] of this.#sessions) {
      if (busy) continue;
      this.#sessions.delete(id);
      return;
    }
  }

  /** The turn after the last one, which is over. */
  #continue(session: Session, row: TraceRequest): void {
    const { arrivalMs = session.arrivalMs ?? 0 } = row;
    const delayMs = row.delayMs ?? Math.max(0, arrivalMs - (session.arrivalMs ?? arrivalMs));
    session.busy = true;
    session.arrivalMs = row.arrivalMs ?? session.arrivalMs;
    this.#at(session.overMs + delayMs / this.#options.speedup, () => this.#arrive(row));
  }

  #await(row: TraceRequest): void {
    const missing = row.waitFor.filter((id) => !this.#over.has(id));
    const waiter = { request: row, missing: missing.length };
    this.#hold(row);
    for (const id of missing) this.#waiters.set(id, [...(this.#waiters.get(id) ?? []), waiter]);
    if (missing.length === 0) this.#release(waiter);
  }

  #release({ request }: Waiter): void {
    this.#held--;
    this.#at(this.#clock.nowMs + (request.delayMs ?? 0) / this.#options.speedup, () => this.#arrive(request));
  }

  /** A request that followed others is due. */
  #arrive(request: TraceRequest): void {
    const { concurrency } = this.#options;
    if (concurrency === undefined || this.#inFlight < concurrency) this.#start(request);
    else this.#ready.push(request);
  }

  #start(request: TraceRequest): void {
    this.#inFlight++;
    this.#send(request, () => this.#done(request));
  }

  #done(request: TraceRequest): void {
    const { requestId, sessionId, follows } = request;
    this.#inFlight--;
    if (requestId !== '') this.#remember(requestId);
    const session = follows === 'session' ? this.#sessions.get(sessionId) : undefined;
    if (session !== undefined) {
      session.overMs = this.#clock.nowMs;
      session.busy = false;
      const next = session.parked.shift();
      if (next !== undefined) {
        this.#held--;
        this.#continue(session, next);
      }
    }
    if (this.#options.concurrency !== undefined) this.#pump();
  }

  #remember(requestId: string): void {
    this.#over.add(requestId);
    if (this.#over.size > maxHeld)
      for (const first of this.#over.values()) {
        this.#over.delete(first);
        break;
      }
    const waiters = this.#waiters.get(requestId) ?? [];
    this.#waiters.delete(requestId);
    for (const waiter of waiters) if (--waiter.missing === 0) this.#release(waiter);
  }

  #hold({ line }: TraceRequest): void {
    if (++this.#held > maxHeld)
      throw StatorError.invalid('trace', `At line ${line} of the trace ${maxHeld} requests wait for others already.`);
  }

  #at(atMs: number, run: () => void): void {
    this.#scheduled++;
    this.#clock.after(atMs - this.#clock.nowMs, () => {
      this.#scheduled--;
      run();
    });
  }
}
