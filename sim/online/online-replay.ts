import { StatorError } from '#lib/errors/errors.ts';
import { LoadDriver, type LoadOptions } from '../replay/load-driver.ts';
import { type Outcome, outcomes, type ReplayObserver } from '../replay/request-record.ts';
import { tokensOfPrompt } from '../traces/prompt-content.ts';
import type { TraceRequest } from '../traces/trace-request.ts';
import { Answer, AnswerError } from './answer.ts';
import { GatewayClient, type GatewayOptions } from './gateway-client.ts';
import { LiveOutputs } from './live-outputs.ts';
import { LiveWorkers } from './live-workers.ts';
import { RealClock } from './real-clock.ts';

export interface OnlineOptions {
  /** What is replayed, for people. */
  readonly trace: string;
  readonly requests: AsyncIterable<TraceRequest>;
  /** NaN: not known. */
  readonly expectedRequests: number;
  readonly load: LoadOptions;
  readonly gateway: GatewayOptions;
  /** Token ids that prompts are made of: `count` from `lowest`. Every model must know them as ordinary tokens. */
  readonly vocabulary: { readonly lowest: number; readonly count: number };
  readonly seed: number;
  readonly observer: ReplayObserver;
  onProgress?(progress: { readonly finished: number; readonly inFlight: number }): void;
  /** Ends the replay early: what is in flight is given up, and what is over is reported. */
  readonly signal?: AbortSignal;
}

export interface OnlineResult {
  /** Whether it was interrupted. */
  readonly partial: boolean;
  readonly model: string;
}

/** A request on its way. */
interface Flight {
  readonly index: number;
  readonly arrivalMs: number;
  readonly request: TraceRequest;
  done(): void;
}

/** Requests that may wait for a connection; a deployment that slow is not measured but buried. */
const maxWaiting = 100_000;

/** Plays a trace in real time against a live deployment and tells the observer what its client sees. */
export async function runOnlineReplay(options: OnlineOptions): Promise<OnlineResult> {
  const client = new GatewayClient(options.gateway);
  try {
    await client.open(options.signal);
    return await new OnlineReplay(options, client).run();
  } finally {
    await client.close();
  }
}

class OnlineReplay {
  readonly #options: OnlineOptions;
  readonly #client: GatewayClient;
  readonly #clock = new RealClock((task) => this.#guard(task));
  readonly #driver: LoadDriver;
  readonly #workers = new LiveWorkers();
  readonly #outputs = new LiveOutputs();
  readonly #giveUp = new AbortController();
  /** Due, but every connection is in use. */
  readonly #waiting: Flight[] = [];
  #sent = 0;
  #open = 0;
  #finished = 0;
  #lastOverMs = 0;
  #failure: unknown;
  #wake: () => void = () => {};

  constructor(options: OnlineOptions, client: GatewayClient) {
    this.#options = options;
    this.#client = client;
    this.#driver = new LoadDriver({
      requests: options.requests,
      clock: this.#clock,
      options: options.load,
      send: (request, done) => this.#send(request, done),
    });
  }

  async run(): Promise<OnlineResult> {
    const { trace, seed, expectedRequests, observer, signal } = this.#options;
    const workers = this.#workers.list;
    observer.begin({ trace, time: 'real', seed, routerMode: 'of the deployment', workers, expectedRequests });
    const interrupt = (): void => this.#wakeUp();
    signal?.addEventListener('abort', interrupt);
    try {
      await this.#loop();
    } finally {
      signal?.removeEventListener('abort', interrupt);
      this.#clock.stop();
      this.#giveUp.abort();
      await this.#driver.close();
    }
    this.#workers.tell(observer, this.#lastOverMs);
    observer.end(this.#lastOverMs);
    return { partial: signal?.aborted === true && !this.#driver.isOver, model: this.#client.model };
  }

  async #loop(): Promise<void> {
    const { signal, onProgress } = this.#options;
    while (signal?.aborted !== true) {
      if (this.#driver.wants) await this.#driver.fill();
      if (this.#failure !== undefined) throw this.#failure;
      onProgress?.({ finished: this.#finished, inFlight: this.#open + this.#waiting.length });
      if (this.#driver.isOver) return;
      if (this.#clock.pending + this.#open === 0 && !this.#driver.wants) throw this.#driver.stuck();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.#driver.wants || this.#failure !== undefined || signal?.aborted === true) resolve();
      });
    }
  }

  #send(request: TraceRequest, done: () => void): void {
    const flight: Flight = { index: this.#sent++, arrivalMs: this.#clock.nowMs, request, done };
    if (this.#open < this.#options.gateway.maxConnections) void this.#fly(flight);
    else if (this.#waiting.length < maxWaiting) this.#waiting.push(flight);
    else
      throw new StatorError(
        'overloaded',
        `${maxWaiting} requests wait for a connection: the deployment does not keep up with the trace.`,
      );
  }

  async #fly(flight: Flight): Promise<void> {
    const { request, arrivalMs } = flight;
    this.#open++;
    const answer = new Answer();
    const nowMs = (): number => this.#clock.nowMs;
    const tokens = tokensOfPrompt(request.prompt, this.#options.vocabulary);
    this.#outputs.fill(request.prompt, tokens);
    const question = { ...request, tokens, wantsOutput: request.outputId !== undefined };
    let error: AnswerError | undefined;
    try {
      await this.#client.complete(question, answer, nowMs, this.#giveUp.signal);
    } catch (thrown) {
      error = thrown instanceof AnswerError ? thrown : new AnswerError('internal', String(thrown), { cause: thrown });
    }
    this.#open--;
    // Given up, not failed.
    if (this.#giveUp.signal.aborted) return;
    this.#guard(() => {
      this.#over(flight, answer, error);
      if (request.outputId !== undefined && error === undefined) this.#outputs.keep(request.outputId, answer.outputIds);
      flight.done();
      this.#workers.served(this.#workers.placesOf(answer.workers).worker, arrivalMs, this.#lastOverMs);
      const next = this.#waiting.shift();
      if (next !== undefined) void this.#fly(next);
    });
  }

  #over({ index, arrivalMs, request }: Flight, answer: Answer, error: AnswerError | undefined): void {
    const { observer } = this.#options;
    this.#finished++;
    this.#lastOverMs = Math.max(this.#lastOverMs, this.#clock.nowMs);
    if (error !== undefined) observer.error(error.code);
    observer.request({
      index,
      arrivalMs,
      // What happens inside the deployment is not seen from here.
      routedMs: Number.NaN,
      startedMs: Number.NaN,
      firstTokenMs: answer.firstTokenMs,
      lastTokenMs: error === undefined ? answer.lastTokenMs : Number.NaN,
      longestGapMs: answer.longestGapMs,
      promptTokens: Number.isNaN(answer.promptTokens) ? request.promptTokens : answer.promptTokens,
      cachedTokens: answer.cachedTokens,
      outputTokens: Number.isNaN(answer.outputTokens) ? 0 : answer.outputTokens,
      ...this.#workers.placesOf(answer.workers),
      preemptions: 0,
      outcome: outcomes.indexOf(outcomeOf(error)),
    });
  }

  /** What goes wrong in a callback ends the replay. */
  #guard(task: () => void): void {
    try {
      task();
    } catch (thrown) {
      this.#failure ??= thrown;
    }
    this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake();
  }
}

function outcomeOf(error: AnswerError | undefined): Outcome {
  if (error === undefined) return 'completed';
  return error.refused ? 'rejected' : 'failed';
}
