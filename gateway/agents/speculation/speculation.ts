import { create } from '@bufbuild/protobuf';
import { TokenPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import type { Choice } from '../../pipeline/choice.ts';
import { Generation } from '../../pipeline/generation.ts';
import type { GenerationMetrics, PipelineParts } from '../../pipeline/parts.ts';
import { createChoices, preparePrompt } from '../../pipeline/prepare.ts';
import type { GenerationRequest } from '../../pipeline/request.ts';
import { tokensOf } from '../../pipeline/run.ts';
import { startTimes } from '../../pipeline/times.ts';
import type { Caller } from '../../tenants/caller.ts';
import type { Charge } from '../../tenants/limits.ts';
import type { AgentMetrics, SpeculationOutcome } from '../metrics.ts';
import { nextTurnTokens } from './next-turn.ts';

/** Nothing runs later in an engine, or leaves the router's queue later. */
const lowestPriority = -0x8000_0000;

export interface SpeculationOptions {
  readonly parts: () => PipelineParts;
  /** Next turns that are computed at once. */
  readonly maxRunning: number;
  /** Prompts that run for clients, for each worker of the model, beyond which nothing is computed in advance. */
  readonly maxLoad: number;
  /** Milliseconds after which one is given up. */
  readonly timeoutMs: number;
  readonly metrics: AgentMetrics;
}

/** For whom a next turn is computed. */
export interface Foreseen {
  readonly scope: string;
  /** Whose limits it is charged to. */
  readonly caller: Caller;
  /** Told what it took once it is done. */
  readonly onTokens: (tokens: number) => void;
}

interface Running {
  readonly scope: string;
  readonly model: string;
  readonly ending: AbortController;
}

/** Why one is given up, as its signal carries it. */
class GivenUp extends Error {
  readonly outcome: SpeculationOutcome;

  constructor(outcome: SpeculationOutcome) {
    super(outcome);
    this.outcome = outcome;
  }
}

/**
 * Computes the beginning of the next turn once a turn has ended: a prompt with one token of output that nobody reads. It is
 * the least important work there is: bounded, of the lowest priority, given up as soon as clients need the workers or the
 * next turn comes itself.
 */
export class SpeculativePrefills {
  readonly #o: SpeculationOptions;
  readonly #running = new Set<Running>();
  /** Prompts of clients that run, by model. */
  readonly #load = new Map<string, number>();
  #closed = false;

  constructor(options: SpeculationOptions) {
    this.#o = options;
  }

  get running(): number {
    return this.#running.size;
  }

  /** A client's prompt begins: the turn of `scope` is not to be foreseen any more. */
  began({ request }: Generation, scope: string | null): void {
    const model = request.model.entry.name;
    this.#load.set(model, (this.#load.get(model) ?? 0) + 1);
    for (const one of this.#running) {
      if (scope !== null && one.scope === scope) one.ending.abort(new GivenUp('cancelled_superseded'));
      else if (one.model === model && this.#isLoaded(request)) one.ending.abort(new GivenUp('cancelled_load'));
    }
  }

  ended({ request }: Generation): void {
    const model = request.model.entry.name;
    const left = (this.#load.get(model) ?? 1) - 1;
    if (left > 0) this.#load.set(model, left);
    else this.#load.delete(model);
  }

  /** Computes what follows a turn that has ended, unless something speaks against it. */
  foresee(generation: Generation, foreseen: Foreseen): void {
    const { metrics, maxRunning, timeoutMs } = this.#o;
    if (this.#closed) return;
    const { request } = generation;
    const refused = this.#running.size >= maxRunning ? 'dropped_full' : this.#isLoaded(request) ? 'dropped_load' : null;
    if (refused !== null) {
      metrics.speculation(refused);
      return;
    }
    const ending = new AbortController();
    const running: Running = { scope: foreseen.scope, model: request.model.entry.name, ending };
    this.#running.add(running);
    const timer = setTimeout(() => ending.abort(new GivenUp('cancelled_late')), timeoutMs).unref();
    void this.#run(generation, foreseen, ending.signal)
      .catch(
        (): SpeculationOutcome => (ending.signal.reason instanceof GivenUp ? ending.signal.reason.outcome : 'failed'),
      )
      .then((outcome) => {
        clearTimeout(timer);
        this.#running.delete(running);
        metrics.speculation(outcome);
      });
  }

  /** Gives everything up. */
  close(): void {
    this.#closed = true;
    for (const { ending } of this.#running) ending.abort(new GivenUp('cancelled_load'));
  }

  #isLoaded({ model }: GenerationRequest): boolean {
    return (this.#load.get(model.entry.name) ?? 0) > this.#o.maxLoad * Math.max(1, model.entry.workers.size);
  }

  async #run(before: Generation, { caller, onTokens }: Foreseen, signal: AbortSignal): Promise<SpeculationOutcome> {
    const parts = { ...this.#o.parts(), turns: unheard, metrics: uncounted };
    const [choice] = before.choices;
    if (choice === undefined) return 'failed';
    // Before the tokenizer has work; what the turn itself used may not have been charged yet.
    if ((await roomFor(parts, caller, before.prompt.tokenIds.length)) === null) return 'dropped_limits';
    const tokenIds = await nextTurnTokens(parts, before, choice, signal);
    const room = before.request.model.entry.card.limits?.contextLength ?? 0;
    const isTooShort = tokenIds.length < Math.max(1, before.prompt.kvBlockSize);
    if (isTooShort || (room > 0 && tokenIds.length >= room)) return 'dropped_short';
    const request = nextRequest(before.request, tokenIds);
    const prompt = await preparePrompt(parts, request, signal);
    const charge = await roomFor(parts, caller, prompt.tokenIds.length + 1);
    if (charge === null) return 'dropped_limits';
    signal.throwIfAborted();
    const ended = Promise.withResolvers<void>();
    const nowMs = performance.now();
    const choices = createChoices(request, prompt, 0);
    const observer = { choiceChanged: (_: Choice, one: Generation) => (one.done ? ended.resolve() : undefined) };
    const times = startTimes(nowMs, nowMs);
    const generation = new Generation(parts, { request, prompt, choices, observer, times, explain: false });
    signal.addEventListener('abort', () => generation.cancel(), { once: true });
    // As requests are: also where it is given up.
    try {
      await generation.start();
      await ended.promise;
    } finally {
      charge(tokensOf(generation));
    }
    const error = choices[0]?.finish?.error ?? null;
    if (error !== null) throw error;
    const tokens = prompt.tokenIds.length;
    this.#o.metrics.speculated(tokens, generation.cachedTokens);
    onTokens(tokens);
    return 'done';
  }
}

/** What charges the tokens to whoever asked for them; null: so many are more than they have left, or they may no longer call. */
async function roomFor({ tenants }: PipelineParts, caller: Caller, tokens: number): Promise<Charge | null> {
  try {
    return await tenants.limits.spend(tenants.renewed(caller), tokens);
  } catch {
    return null;
  }
}

/** The same request with another prompt, for nobody's eyes. */
function nextRequest(before: GenerationRequest, tokenIds: readonly number[]): GenerationRequest {
  const nowMs = Date.now();
  return {
    ...before,
    requestId: `${before.requestId}/next`,
    prompt: { case: 'tokens', value: create(TokenPromptSchema, { tokenIds: [...tokenIds] }) },
    choices: 1,
    stop: { maxTokens: 1, minTokens: 0, stopTokenIds: [], ignoreEos: true, stopStrings: [], includeStopString: false },
    topLogprobs: null,
    promptLogprobs: null,
    guided: null,
    guidedField: '',
    parsing: null,
    priority: lowestPriority,
    routing: {
      ...before.routing,
      queuePriority: lowestPriority,
      strictPriority: 0,
      expectedOutputTokens: 1,
      arrivalUnixMs: nowMs,
      deadlineUnixMs: 0,
    },
    agent: { ...before.agent, speculativePrefill: false },
    returnPromptText: false,
    timeoutMs: 0,
  };
}

const unheard: PipelineParts['turns'] = { began: () => {}, ended: () => {} };
/** Latencies are those of what clients asked for. */
const uncounted: GenerationMetrics = { tokens: () => {}, placedPrompt: () => {}, migrated: () => {} };
