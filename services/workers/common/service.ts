import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { defaultSettings, type SettingsOf } from '#lib/config/settings.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import { KvEventFrames } from '#lib/rpc/kv-event-frames.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { SessionServer } from '#lib/rpc/session/server.ts';
import { describeInstance } from '#lib/service/instance.ts';
import type { RunningService, ServiceParts } from '#lib/service/run.ts';
import { serverSecurity } from '#lib/service/security.ts';
import type { serviceSettings } from '#lib/service/settings.ts';
import { Canary } from './canary.ts';
import { type WorkerConfig, workerSettings } from './config.ts';
import type { WorkerContext } from './context.ts';
import { Drainer } from './drain.ts';
import type { Engine } from './engine.ts';
import { engineService } from './handlers/engine-service.ts';
import { subscribeKvEvents } from './handlers/subscribe-kv-events.ts';
import { HandoffParts } from './handoff/parts.ts';
import { EngineHost } from './host.ts';
import { KeepingEngine, KeptPrompts } from './keeping-engine.ts';
import { AdmittingEngine } from './kv-admission.ts';
import { kvTiersOf } from './kv-tiers/parts.ts';
import { type KvTiers, TieredEngine } from './kv-tiers/tiered-engine.ts';
import { WorkerModels } from './models.ts';
import { topologyOf } from './place.ts';
import { selfTest } from './self-test.ts';
import { SessionRunner } from './session-runner.ts';
import { WorkerState } from './state.ts';

/** Tokens of the warm-up: the first is the prompt's, the second a decode step's. */
const warmUpTokens = 2;

/** How long a worker that stops waits for KV to be fetched that it handed over: decode workers compute the rest. */
const fetchedWithinMs = 1000;

export interface WorkerOptions {
  /** The engine's name, for example "llamacpp". */
  readonly kind: string;
  /** Name of the instance for people. Unset: from kind and id. */
  readonly name?: string;
  /** One for each model. */
  readonly engines: readonly Engine[];
  readonly config: SettingsOf<typeof serviceSettings> & Partial<WorkerConfig>;
  readonly parts: ServiceParts;
}

/** A running worker. `ended` rejects with `engine_failed` when an engine becomes unusable. */
export interface WorkerService extends RunningService, AsyncDisposable {
  readonly ended: Promise<void>;
  readonly context: WorkerContext;
}

/** Starts engines, warms them up with a real generation, registers the worker with its cards and serves EngineService. */
export async function startWorker(options: WorkerOptions): Promise<WorkerService> {
  const worker = new Worker(options);
  try {
    await worker.start();
    return worker;
  } catch (thrown) {
    await worker.abandon();
    throw thrown;
  }
}

class Worker implements WorkerService {
  readonly ended: Promise<void>;
  readonly #o: WorkerOptions;
  readonly #config: WorkerConfig;
  readonly #models: WorkerModels;
  readonly #sessions: SessionServer;
  readonly #handoffs: HandoffParts;
  readonly #closing = new AbortController();
  readonly #fatal = Promise.withResolvers<void>();
  #server: RpcServer | undefined;
  #context: WorkerContext | undefined;
  #state: WorkerState | undefined;
  #canary: Canary | undefined;
  #stopped: Promise<void> | undefined;
  /** Why KV tiers cannot be used. */
  #tierProblem: string | null;
  address = '';

  constructor(options: WorkerOptions) {
    const { engines, parts } = options;
    const config = { ...defaultSettings(workerSettings), ...options.config };
    this.#o = options;
    this.#config = config;
    this.#tierProblem = config.kvbmMode === 'required' ? 'no KV block manager was found yet' : null;
    this.ended = this.#fatal.promise;
    // Whoever does not watch it must not be ended by an unhandled rejection.
    this.ended.catch(() => {});
    const hostOptions = {
      telemetry: parts.telemetry,
      kvEventRing: config.kvEventRing,
      forwardPassRing: config.forwardPassRing,
      onStepEnd: () => this.#sessions.flushStep(),
      onFatal: (error: StatorError) => void this.#fail(error),
    };
    this.#handoffs = new HandoffParts({
      config,
      instanceId: parts.instanceId,
      telemetry: parts.telemetry,
      address: () => this.address,
    });
    const hosts = engines.map((engine) => new EngineHost({ ...hostOptions, engine: this.#withKv(engine) }));
    this.#models = new WorkerModels(hosts, config);
    this.#sessions = new SessionServer({
      instanceId: parts.instanceId,
      telemetry: parts.telemetry,
      maxSlots: config.sessionSlots,
      resumeGraceMs: config.sessionResumeGraceMs,
      maxBufferedBytes: config.sessionBufferKib * 1024,
      runner: {
        submit: (slot, request) => this.#runner.submit(slot, request),
        cancel: (slot) => this.#runner.cancel(slot),
      },
    });
  }

  get context(): WorkerContext {
    if (this.#context === undefined) throw new Error('the worker has not started');
    return this.#context;
  }

  get #runner(): SessionRunner {
    this.#sessionRunner ??= new SessionRunner(this.context);
    return this.#sessionRunner;
  }
  #sessionRunner: SessionRunner | undefined;

  async start(): Promise<void> {
    const { parts } = this.#o;
    const { telemetry, shutdown, discovery } = parts;
    for (const host of this.#models.hosts) {
      await host.start(shutdown, (fraction) => telemetry.log.debug({ fraction }, 'loading'));
      telemetry.log.info({ model: host.card.name, engine: host.card.engine }, 'model loaded');
    }
    this.#models.checkNames();
    for (const host of this.#models.hosts) await this.#warmUp(host);
    const contextOf = (): WorkerContext => this.context;
    this.#server = await startRpcServer({
      listen: this.#config.listen,
      services: [EngineService],
      routes: (router) => {
        router.service(EngineService, engineService(contextOf));
        // The later of two handlers of one RPC serves it.
        router.service(KvEventFrames, subscribeKvEvents(contextOf));
      },
      telemetry,
      ...serverSecurity(this.#config),
    });
    this.#server.setServing(false);
    this.address = this.#config.advertise ?? this.#server.address;
    const state = this.#createContext(this.#server, this.address);
    void state.setDegraded('kvbm', this.#tierProblem, this.#config.kvbmMode === 'required');
    state.attach(await discovery.register(state.instance()));
    this.#canary = new Canary({
      hosts: this.#models.hosts,
      state,
      telemetry,
      idleMs: this.#config.canaryIdleSeconds * 1000,
      timeoutMs: this.#config.canaryTimeoutSeconds * 1000,
    });
  }

  /** Drains, then ends. Idempotent. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** Frees what a start that failed has opened. */
  async abandon(): Promise<void> {
    this.#closing.abort();
    this.#sessions.close();
    await this.#server?.stop(0);
    for (const { engine } of this.#models.hosts) await engine.stop();
    await this.#handoffs.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    const failed = this.#models.hosts.some((host) => host.failed !== undefined);
    if (this.#context !== undefined && !failed) {
      await this.#context.drainer.drain();
      await this.#handoffs.fetched(fetchedWithinMs);
    }
    await this.#close();
  }

  async #close(): Promise<void> {
    this.#canary?.stop();
    await this.#state?.withdraw();
    this.#closing.abort();
    this.#sessions.close();
    await this.#server?.stop(1000);
    for (const { engine } of this.#models.hosts) await engine.stop();
    await this.#handoffs.close();
  }

  /** Its sequences have ended with `engine_failed`; nobody may send more. */
  async #fail(error: StatorError): Promise<void> {
    this.#o.parts.telemetry.log.fatal({ err: error }, 'engine failed');
    this.#canary?.stop();
    this.#server?.setServing(false);
    await this.#state?.withdraw().catch(() => {});
    this.#fatal.reject(error);
  }

  /** An engine whose KV comes from others where they have it, and goes to others where they ask for it. */
  #withKv(engine: Engine): Engine {
    const { telemetry } = this.#o.parts;
    const { source, wrap } = this.#handoffs.forEngine(engine);
    const tiers = this.#tiersOf(engine);
    const kept = new KeptPrompts(engine, this.#config, telemetry);
    const admitting = new AdmittingEngine(engine, {
      sources: tiers === undefined ? [source] : [source, tiers.source],
      observers: tiers === undefined ? [kept.pins] : [tiers.observer, kept.pins],
      maxFetching: this.#config.maxSequencesFetchingKv,
      fetchTimeoutMs: this.#config.handoffTtlSeconds * 1000,
      holdTimeoutMs: this.#config.handoffTtlSeconds * 1000,
      log: telemetry.log,
      metrics: telemetry.metrics,
    });
    const keeping = new KeepingEngine(admitting, kept);
    return wrap(tiers === undefined ? keeping : new TieredEngine(keeping, tiers));
  }

  #tiersOf(engine: Engine): KvTiers | undefined {
    const { parts, kind } = this.#o;
    const isRequired = this.#config.kvbmMode === 'required';
    return kvTiersOf(engine, {
      ...parts,
      config: this.#config,
      name: this.#o.name ?? kind,
      onState: (problem) => {
        this.#tierProblem = problem;
        void this.#state?.setDegraded('kvbm', problem, isRequired);
      },
    });
  }

  async #warmUp(host: EngineHost): Promise<void> {
    const startMs = performance.now();
    await selfTest(host, { tokens: warmUpTokens, timeoutMs: this.#config.canaryTimeoutSeconds * 1000 });
    await host.engine.clearCache();
    const durationMs = Math.round(performance.now() - startMs);
    this.#o.parts.telemetry.log.info({ model: host.card.name, durationMs }, 'warmed up');
  }

  #createContext(server: RpcServer, address: string): WorkerState {
    const { parts, kind, name } = this.#o;
    const instance = describeInstance({
      instanceId: parts.instanceId,
      kind: ServiceKind.WORKER,
      address,
      tls: this.#config.tlsCert !== undefined,
      name: name ?? `${kind}-${parts.instanceId.toString(16).slice(0, 8)}`,
    });
    instance.topology = topologyOf(this.#config);
    const state = new WorkerState(instance, this.#models, parts.telemetry, (serving) => server.setServing(serving));
    const drainer = new Drainer({
      models: this.#models,
      state,
      sessions: this.#sessions,
      telemetry: parts.telemetry,
      noticeMs: this.#config.drainNoticeMs,
      graceMs: this.#config.shutdownGraceSeconds * 1000,
    });
    this.#state = state;
    this.#context = {
      config: this.#config,
      telemetry: parts.telemetry,
      models: this.#models,
      sessions: this.#sessions,
      state,
      drainer,
      closing: this.#closing.signal,
    };
    return state;
  }
}
