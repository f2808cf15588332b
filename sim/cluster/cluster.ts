import { RequestRejectedError } from '#core/scheduling/engine/engine-model.ts';
import type { OutputHasher } from '#core/scheduling/engine/settings.ts';
import { createSimulatedEngine } from '#core/scheduling/engine/simulated-engine.ts';
import { syntheticOutputHasher } from '#core/scheduling/engine/synthetic-hasher.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import type { RouteDecision } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterConfig } from '#services/router/config.ts';
import type { VirtualClock } from '../clock/virtual-clock.ts';
import { seeded } from '../random.ts';
import { PromptHasher } from '../traces/prompt-content.ts';
import { joinShapes, type TraceRequest } from '../traces/trace-request.ts';
import { engineRequest, type Flight, type Place } from './flight.ts';
import { KvFeed } from './kv-feed.ts';
import type { TrackedSequence } from './sim-rank.ts';
import { SimRouter } from './sim-router.ts';
import { SimWorker } from './sim-worker.ts';
import { instanceOf, type WorkerSpec } from './worker-spec.ts';

export interface ClusterOptions {
  readonly clock: VirtualClock;
  readonly specs: readonly WorkerSpec[];
  readonly router: RouterConfig;
  readonly seed: number;
  /** Milliseconds that a cache event takes to the router. */
  readonly kvEventDelayMs: number;
  readonly frontend: FrontendDelay;
  readonly listener: ClusterListener;
}

/** What lies between sending a request and its routing: gateway, tokenizer, network. */
export interface FrontendDelay {
  readonly ms: number;
  /** More for each token of the prompt. */
  readonly msPerToken: number;
}

export interface ClusterListener {
  completed(flight: Flight, sequence: TrackedSequence): void;
  /** The router did not place it, or a worker did not take it. */
  refused(flight: Flight, error: StatorError, by: 'router' | 'worker'): void;
}

/** Workers and their router under virtual time. */
export class Cluster {
  readonly workers: readonly SimWorker[];
  readonly router: SimRouter;
  readonly blockSize: number;
  readonly #options: ClusterOptions;
  readonly #hasher: PromptHasher;
  readonly #byInstance = new Map<bigint, SimWorker>();
  /** By identifier in engines. */
  readonly #flights = new Map<number, Flight>();
  readonly #apart: boolean;

  /** Throws `invalid_argument` for workers that cannot serve together. */
  constructor(options: ClusterOptions) {
    const { clock, specs, router, seed } = options;
    this.#options = options;
    this.blockSize = commonBlockSize(specs);
    this.#apart = specs.every(({ role }) => role !== 'aggregated');
    this.#hasher = new PromptHasher(this.blockSize);
    this.router = new SimRouter({
      config: router,
      clock,
      random: seeded(seed, 'router'),
      startLoad: (instanceId, onLoad) => this.#worker(instanceId).startLoad(onLoad),
      beforeRetry: () => this.sync(),
    });
    this.workers = specs.map((spec, index) => this.#createWorker(spec, index));
    for (const worker of this.workers) clock.after(worker.spec.readyAfterMs, () => this.#join(worker));
  }

  /** Requests sent and not over. */
  get inFlight(): number {
    return this.#flights.size;
  }

  /** Brings every worker to the present. */
  sync(): void {
    for (const worker of this.workers) worker.sync();
  }

  /** Sends a request. `done`: it is over, one way or another, and the listener knows. */
  send(index: number, request: TraceRequest, done: () => void): void {
    const { clock, frontend } = this.#options;
    const flight: Flight = {
      index,
      request,
      hashes: this.#hasher.hash(request.prompt, request.promptTokens),
      arrivalMs: clock.nowMs,
      routedMs: Number.NaN,
      outputBlocks: 0,
      prefill: undefined,
      prefilled: undefined,
      decode: undefined,
      allHashes: undefined,
      done,
    };
    this.#flights.set(index + 1, flight);
    const route = (): void => this.#route(flight, this.#apart ? 'prefill' : 'aggregated');
    const delayMs = frontend.ms + frontend.msPerToken * request.promptTokens;
    if (delayMs > 0) clock.after(delayMs, route);
    else route();
  }

  #route(flight: Flight, stage: 'aggregated' | 'prefill' | 'decode'): void {
    const { index, request, hashes } = flight;
    this.sync();
    const routeId = stage === 'decode' ? `${index}d` : `${index}`;
    const role = stage === 'aggregated' ? undefined : stage === 'prefill' ? WorkerRole.PREFILL : WorkerRole.DECODE;
    const { promptTokens, sessionId, priority, strictPriority, policyClass } = request;
    const prompt = { promptTokens, sequenceHashes: hashes, blockSize: this.blockSize };
    this.router.route(
      { requestId: routeId, ...prompt, sessionId, priority, strictPriority, policyClass, role },
      {
        placed: (decision) => this.#place(flight, stage, routeId, decision),
        refused: (error) => this.#refuse(flight, error, 'router'),
      },
    );
  }

  #place(flight: Flight, stage: 'aggregated' | 'prefill' | 'decode', routeId: string, decision: RouteDecision): void {
    const worker = this.#worker(decision.instanceId);
    const place = { worker, rank: decision.dataParallelRank, routeId };
    if (stage !== 'decode') flight.routedMs = this.#options.clock.nowMs;
    if (stage !== 'decode') flight.prefill = place;
    if (stage !== 'prefill') flight.decode = place;
    try {
      worker.ranks[place.rank]?.submit(engineRequest(flight, stage));
      worker.awaken();
    } catch (thrown) {
      if (!(thrown instanceof RequestRejectedError)) throw thrown;
      this.router.finish(routeId);
      this.#releaseHandoff(flight);
      this.#refuse(flight, StatorError.invalid('prompt', thrown.message, { cause: thrown }), 'worker');
    }
  }

  #first(sequence: TrackedSequence): void {
    const flight = this.#flight(sequence);
    const { routeId } = this.#current(flight);
    this.router.prefillDone(routeId);
    if (this.#apart && flight.decode !== undefined) this.#releaseHandoff(flight);
  }

  #output(sequence: TrackedSequence): void {
    if (!this.#options.router.trackOutputBlocks) return;
    const flight = this.#flight(sequence);
    const blocks = Math.floor(sequence.tokens / this.blockSize);
    if (blocks === flight.outputBlocks) return;
    flight.outputBlocks = blocks;
    this.router.outputBlock(this.#current(flight).routeId, sequence.tokens);
  }

  #finished(sequence: TrackedSequence, handoff: boolean): void {
    const flight = this.#flight(sequence);
    this.router.finish(this.#current(flight).routeId);
    if (handoff) {
      flight.prefilled = sequence;
      this.#route(flight, 'decode');
      return;
    }
    this.#flights.delete(sequence.id);
    this.#options.listener.completed(flight, sequence);
    flight.done();
  }

  #refuse(flight: Flight, error: StatorError, by: 'router' | 'worker'): void {
    this.#releaseHandoff(flight);
    this.#flights.delete(flight.index + 1);
    this.#options.listener.refused(flight, error, by);
    flight.done();
  }

  /** The prefill worker may use the memory of the prompt again. */
  #releaseHandoff({ prefill, prefilled, index }: Flight): void {
    if (prefill === undefined || prefilled === undefined) return;
    prefill.worker.ranks[prefill.rank]?.releaseHandoff(index + 1);
  }

  #current(flight: Flight): Place {
    const place = flight.decode ?? flight.prefill;
    if (place === undefined) throw new StatorError('internal', `Request ${flight.index} runs nowhere.`);
    return place;
  }

  #flight({ id }: TrackedSequence): Flight {
    const flight = this.#flights.get(id);
    if (flight === undefined) throw new StatorError('internal', `An engine has the unknown sequence ${id}.`);
    return flight;
  }

  #worker(instanceId: bigint): SimWorker {
    const worker = this.#byInstance.get(instanceId);
    if (worker === undefined) throw new StatorError('internal', `The router chose an unknown worker ${instanceId}.`);
    return worker;
  }

  #join(worker: SimWorker): void {
    this.router.discovery.up(instanceOf(worker.spec, worker.instanceId));
  }

  #createWorker(spec: WorkerSpec, index: number): SimWorker {
    const { clock, router, kvEventDelayMs, seed } = this.#options;
    const instanceId = BigInt(index + 1);
    const settings = { ...spec.engine, kvEvents: router.kvEvents && spec.engine.kvEvents, seed: seed ^ (index << 8) };
    const timing = spec.timing === undefined ? {} : { timing: spec.timing };
    const worker = new SimWorker({
      index,
      instanceId,
      spec: { ...spec, engine: settings },
      clock,
      loadPollMs: router.loadPollMs,
      tellsOutput: router.trackOutputBlocks,
      listener: {
        first: (sequence) => this.#first(sequence),
        finished: (sequence, handoff) => this.#finished(sequence, handoff),
        output: (sequence) => this.#output(sequence),
      },
      createEngine: () => createSimulatedEngine(settings, { ...timing, hasher: this.#outputHasher(settings.seed) }),
      createFeed: (rank) => (settings.kvEvents ? this.#createFeed(instanceId, rank, kvEventDelayMs) : null),
    });
    this.#byInstance.set(instanceId, worker);
    return worker;
  }

  #createFeed(instanceId: bigint, rank: number, delayMs: number): KvFeed {
    const slot = this.router.follow(instanceId, rank, this.blockSize);
    return new KvFeed({ index: this.router.index, slot: () => slot, delayMs });
  }

  /** Blocks of output that a later prompt contains have the hashes that they will have there. */
  #outputHasher(seed: number): OutputHasher {
    const unshared = syntheticOutputHasher(seed);
    return {
      hash: (id, index, parentLow, parentHigh, into) => {
        const flight = this.#flights.get(id);
        const hashes = flight === undefined ? undefined : this.#hashesOfOutput(flight);
        if (hashes === undefined || hashes.length < index * 8 + 8) {
          unshared.hash(id, index, parentLow, parentHigh, into);
          return;
        }
        const view = new DataView(hashes.buffer, hashes.byteOffset + index * 8, 8);
        into[0] = into[2] = view.getUint32(0, true);
        into[1] = into[3] = view.getUint32(4, true);
      },
    };
  }

  #hashesOfOutput(flight: Flight): Uint8Array | undefined {
    const { prompt, promptTokens, outputTokens, outputId } = flight.request;
    if (outputId === undefined) return undefined;
    const output = { ids: Float64Array.of(outputId), lengths: Uint32Array.of(outputTokens) };
    flight.allHashes ??= this.#hasher.hash(joinShapes(prompt, output), promptTokens + outputTokens);
    return flight.allHashes;
  }
}

function commonBlockSize(specs: readonly WorkerSpec[]): number {
  const sizes = [...new Set(specs.map(({ engine }) => engine.blockSize))];
  const [size] = sizes;
  if (size === undefined) throw StatorError.invalid('num-workers', 'A replay needs at least one worker.');
  if (sizes.length > 1)
    throw StatorError.invalid(
      'block_size',
      `Workers of one model have blocks of one size, not of ${sizes.join(' and ')}.`,
    );
  const roles = new Set(specs.map(({ role }) => role));
  if (roles.has('aggregated') ? roles.size > 1 : roles.size < 2)
    throw StatorError.invalid(
      'num-workers',
      `Workers either do both stages, or some prefill and others decode; these: ${[...roles].join(', ')}.`,
    );
  return size;
}
