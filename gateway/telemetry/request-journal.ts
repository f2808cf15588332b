import type { WorkerCost } from '#gen/stator/router/v1/router_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { Generation } from '../pipeline/generation.ts';

/** A request as the journal follows it. */
export interface JournalledRequest {
  readonly requestId: string;
  readonly endpoint: string;
  readonly receivedMs: number;
  readonly model: string;
  readonly type: string;
  /** Who sent it; empty: nobody said. */
  readonly key: string;
  readonly generations: readonly Generation[];
  readonly failure: StatorError | null;
  /** Monotonic milliseconds of its end; 0: it runs. */
  readonly endedMs: number;
}

/** One request's life, times in milliseconds since it came. */
export interface RequestLife {
  readonly id: string;
  readonly endpoint: string;
  readonly model: string;
  readonly type: string;
  readonly key: string;
  readonly received_unix_ms: number;
  readonly duration_ms: number;
  readonly outcome: string;
  readonly error: string;
  readonly prompts: readonly PromptLife[];
}

export interface PromptLife {
  readonly prompt_tokens: number;
  readonly cached_tokens: number;
  readonly output_tokens: number;
  readonly choices: number;
  readonly migrations: number;
  readonly events: readonly { readonly name: string; readonly ms: number }[];
  readonly decisions: readonly DecisionLife[];
}

/** A decision of the router and its reasons. */
export interface DecisionLife {
  readonly stage: 'prompt' | 'decode';
  readonly worker_id: string;
  readonly rank: number;
  readonly prompt_blocks: number;
  readonly blocks: Readonly<Record<'device' | 'host' | 'disk' | 'external' | 'shared', number>>;
  readonly queue_us: number;
  readonly queue_depth: number;
  readonly by_session: boolean;
  readonly disaggregation: string;
  readonly costs: readonly CostLife[];
}

export interface CostLife {
  readonly worker_id: string;
  readonly rank: number;
  readonly cost: number;
  readonly terms: Readonly<Record<string, number>>;
  readonly excluded_because: string;
}

/** Requests that run, and the last ones that ended: what the console shows. */
export class RequestJournal {
  readonly #limit: number;
  readonly #running = new Set<JournalledRequest>();
  readonly #ended: JournalledRequest[] = [];

  /** Keeps so many requests that ended; 0: keeps nothing at all. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  begin(request: JournalledRequest): void {
    if (this.#limit > 0) this.#running.add(request);
  }

  end(request: JournalledRequest): void {
    if (!this.#running.delete(request)) return;
    this.#ended.push(request);
    if (this.#ended.length > this.#limit) this.#ended.shift();
  }

  get running(): number {
    return this.#running.size;
  }

  /** Newest first: those that run, then those that ended. */
  lives(): RequestLife[] {
    return [...[...this.#running].reverse(), ...this.#ended.toReversed()].map(lifeOf);
  }
}

function lifeOf(request: JournalledRequest): RequestLife {
  const { endedMs, receivedMs, failure } = request;
  return {
    id: request.requestId,
    endpoint: request.endpoint,
    model: request.model,
    type: request.type,
    key: request.key,
    received_unix_ms: Math.round(performance.timeOrigin + receivedMs),
    duration_ms: rounded((endedMs || performance.now()) - receivedMs),
    outcome: endedMs === 0 ? 'running' : (failure?.code ?? 'answered'),
    error: failure?.message ?? '',
    prompts: request.generations.map(promptOf),
  };
}

function promptOf(generation: Generation): PromptLife {
  const { times, prompt, cachedTokens, outputTokens, choices, migrations } = generation;
  const named: readonly (readonly [string, number])[] = [
    ['preprocessed', times.preprocessedMs],
    ['routed', times.routedMs],
    ['prefill began', times.prefillBeganMs],
    ['first token', times.firstTokenMs],
    ['decode routed', times.decodeRoutedMs],
    ['decode began', times.decodeBeganMs],
    ['last token', times.lastTokenMs],
  ];
  const events = named.filter(([, ms]) => ms > 0).map(([name, ms]) => ({ name, ms: rounded(ms - times.receivedMs) }));
  const decisions = [decisionOf(generation, 'prompt'), decisionOf(generation, 'decode')].filter((one) => one !== null);
  return {
    prompt_tokens: prompt.tokenIds.length,
    cached_tokens: cachedTokens,
    output_tokens: outputTokens,
    choices: choices.length,
    migrations,
    events,
    decisions,
  };
}

function decisionOf(generation: Generation, stage: DecisionLife['stage']): DecisionLife | null {
  const decision = stage === 'prompt' ? generation.decision : generation.decodeDecision;
  if (decision === null) return null;
  const { deviceBlocks, hostBlocks, diskBlocks, externalBlocks, sharedBlocks, disaggregation } = decision;
  return {
    stage,
    worker_id: decision.instanceId.toString(),
    rank: decision.dataParallelRank,
    prompt_blocks: decision.promptBlocks,
    blocks: {
      device: deviceBlocks,
      host: hostBlocks,
      disk: diskBlocks,
      external: externalBlocks,
      shared: sharedBlocks,
    },
    queue_us: decision.queueUs,
    queue_depth: decision.queueDepth,
    by_session: decision.bySession,
    disaggregation: disaggregation === undefined ? '' : `${disaggregation.policy}: ${disaggregation.reason}`,
    costs: decision.costs.map(costOf),
  };
}

function costOf({ instanceId, dataParallelRank, cost, terms, excludedBecause }: WorkerCost): CostLife {
  return {
    worker_id: instanceId.toString(),
    rank: dataParallelRank,
    cost: rounded(cost),
    terms,
    excluded_because: excludedBecause,
  };
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
