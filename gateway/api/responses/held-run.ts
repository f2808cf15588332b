import { StatorError } from '#lib/errors/errors.ts';
import type { QueuedRun, RunQueue } from './run-queue.ts';
import type { StoredResponse, StoredResponses } from './stored.ts';

/** A background response that this gateway runs, for as long as no other gateway took it up. */
export interface HeldRunOptions {
  readonly responses: StoredResponses;
  readonly id: string;
  /** Of this run alone. */
  readonly owner: string;
  readonly leaseMs: number;
  /** Where other gateways find it; null: nobody could take it up. */
  readonly queued: { readonly queue: RunQueue; readonly run: QueuedRun; readonly version: number } | null;
}

/** The hold of a gateway on a run: it says that it lives, learns that it lost the run, and writes only while it has it. */
export class HeldRun {
  readonly #o: HeldRunOptions;
  readonly #lost = new AbortController();
  #version: number | null;
  #isTaken = false;
  #isReleased = false;
  #beating: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: HeldRunOptions) {
    this.#o = options;
    this.#version = options.queued?.version ?? null;
  }

  /** Aborted once the response was cancelled, deleted or taken up by another gateway. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether another gateway goes on with it. */
  get isTaken(): boolean {
    return this.#isTaken;
  }

  /** Whether another gateway may go on with it. */
  get canBeTakenUp(): boolean {
    return this.#o.queued !== null;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#beating = this.#beat().catch(() => {});
    }, this.#o.leaseMs / 15);
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#beating;
  }

  /** Changes the stored response while this run of it counts; whether it did. */
  async change(change: (stored: StoredResponse) => void): Promise<boolean> {
    let changed = false;
    const stored = await this.#o.responses.change(this.#o.id, (one) => {
      changed = this.#counts(one);
      if (changed) change(one);
      return changed;
    });
    if (stored === null || stored.response.status === 'cancelled') this.#cancelled();
    else if (!changed) this.takenUp();
    return changed;
  }

  /** Another gateway goes on with it. */
  takenUp(): void {
    this.#isTaken = true;
    this.#lost.abort(new StatorError('conflict', 'Another gateway runs the response.'));
  }

  /** The run has ended: nobody has to take it up. */
  async done(): Promise<void> {
    if (!this.#isTaken && !this.#isReleased) await this.#o.queued?.queue.remove(this.#o.id);
  }

  /** Leaves the run to another gateway. */
  async release(): Promise<void> {
    this.#isReleased = true;
    const nowMs = Date.now();
    const isHeld = await this.change((stored) => {
      stored.leaseUnixMs = nowMs;
    });
    if (isHeld) await this.#hold(0);
  }

  #counts({ owner, response }: StoredResponse): boolean {
    return owner === this.#o.owner && response.status !== 'cancelled';
  }

  #cancelled(): void {
    this.#lost.abort(new StatorError('cancelled', 'The response was cancelled.'));
  }

  async #beat(): Promise<void> {
    const untilMs = Date.now() + this.#o.leaseMs;
    const isHeld = await this.change((stored) => {
      stored.leaseUnixMs = untilMs;
    });
    if (isHeld) await this.#hold(untilMs);
  }

  async #hold(leaseUnixMs: number): Promise<void> {
    const { queued, responses } = this.#o;
    if (queued === null || this.#version === null) return;
    const run = { ...queued.run, leaseUnixMs };
    this.#version = await queued.queue.hold(run, this.#version, responses.keptForMs());
    if (this.#version === null) this.takenUp();
  }
}
