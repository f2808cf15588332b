import { setImmediate as nextTurn } from 'node:timers/promises';
import type { RouteDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { until } from '../../support/until.ts';
import type { RandomChoices } from './random.ts';
import { randomRequest } from './random-request.ts';
import type { Caller } from './raw-session.ts';

interface Running {
  readonly request: RouteRequest;
  readonly decision: RouteDecision;
  outputTokens: number;
}

/** A caller with what it was told to have. */
interface Party {
  caller: Caller;
  running: Running[];
  readonly waiting: Map<string, AbortController>;
}

export interface RandomLoadOptions {
  readonly random: RandomChoices;
  /** Opens a caller, at the start and for each that was cut off. */
  readonly open: (number: number) => Caller;
  readonly callers: number;
  readonly workers: readonly bigint[];
  /** Adds or removes a worker. */
  readonly churn: () => Promise<void>;
  /** Requests between two such changes, and between two cuts. */
  readonly churnEvery: number;
}

const mostRunning = 400;
const mostWaiting = 300;
/** Above this the callers let the router answer before they go on. */
const manyWaiting = 60;

/** Callers that place, use, forget and end requests in every order there is. */
export class RandomLoad {
  /** How often each outcome of a request was seen: `placed` or the code of its refusal. */
  readonly outcomes = new Map<string, number>();
  readonly #options: RandomLoadOptions;
  readonly #parties: Party[];
  #made = 0;

  constructor(options: RandomLoadOptions) {
    this.#options = options;
    this.#parties = Array.from({ length: options.callers }, (_, number) => ({
      caller: options.open(number),
      running: [],
      waiting: new Map(),
    }));
  }

  /** Makes so many requests, with everything that happens to them meanwhile. */
  async run(requests: number): Promise<void> {
    const { random, churn, churnEvery } = this.#options;
    const end = this.#made + requests;
    while (this.#made < end) {
      const party = random.pick(this.#parties);
      this.#route(party);
      this.#progress(party);
      if (random.oneIn(churnEvery)) await churn();
      if (random.oneIn(churnEvery)) this.#cut(party);
      const flood = this.#sum(({ waiting }) => waiting.size) > manyWaiting;
      if (flood || random.oneIn(16)) await nextTurn();
    }
  }

  /** Ends everything, so that a router may have nothing left; callers stay. */
  async drain(): Promise<void> {
    await until('every request is answered', async () => {
      for (const party of this.#parties) {
        for (const { request } of party.running.splice(0)) this.#finish(party, request);
      }
      await nextTurn();
      return this.#sum((party) => party.waiting.size + party.running.length) === 0;
    });
  }

  close(): void {
    for (const { caller } of this.#parties) caller.close();
  }

  #route(party: Party): void {
    const { random, workers } = this.#options;
    const twice = random.oneIn(200) && party.running.length > 0;
    const id = twice ? random.pick(party.running).request.requestId : `r${this.#made}`;
    this.#made += 1;
    if (party.waiting.has(id)) return;
    const request = randomRequest(random, random.oneIn(1000) ? '' : id, workers);
    const given = new AbortController();
    party.waiting.set(id, given);
    const { caller } = party;
    caller
      .route(request, given.signal)
      .then(
        (decision) => {
          this.#count('placed');
          // A caller that gave up, or was cut off, does not know that it was placed.
          if (given.signal.aborted) caller.finish(id, { workerFailed: false });
          else if (caller === party.caller) party.running.push({ request, decision, outputTokens: 0 });
        },
        (thrown: unknown) => this.#count(StatorError.from(thrown).code),
      )
      .finally(() => {
        if (party.waiting.get(id) === given) party.waiting.delete(id);
      });
  }

  #progress(party: Party): void {
    const { random } = this.#options;
    while (this.#sum(({ running }) => running.length) > mostRunning) this.#end(random.pick(this.#parties));
    if (this.#sum(({ waiting }) => waiting.size) > mostWaiting) this.#giveUp(random.pick(this.#parties));
    if (random.oneIn(20)) this.#giveUp(party);
    if (random.oneIn(50)) this.#unknown(party);
    if (party.running.length === 0) return;
    const running = random.pick(party.running);
    const { requestId } = running.request;
    switch (random.below(4)) {
      case 0:
        party.caller.prefillDone(requestId);
        break;
      case 1:
        running.outputTokens += random.below(50);
        party.caller.outputBlock(requestId, Math.max(0, running.outputTokens - (random.oneIn(10) ? 60 : 0)));
        break;
      default:
        this.#end(party);
    }
  }

  #end({ caller, running }: Party): void {
    if (running.length === 0) return;
    const [ended] = running.splice(this.#options.random.below(running.length), 1);
    if (ended !== undefined) this.#finish({ caller }, ended.request);
  }

  #finish({ caller }: Pick<Party, 'caller'>, { requestId }: RouteRequest): void {
    const { random } = this.#options;
    caller.finish(requestId, { workerFailed: random.oneIn(200) });
    if (random.oneIn(20)) caller.finish(requestId, { workerFailed: false });
    if (random.oneIn(50)) caller.prefillDone(requestId);
    if (random.oneIn(50)) caller.outputBlock(requestId, 100);
  }

  #giveUp({ waiting }: Party): void {
    const { random } = this.#options;
    if (waiting.size > 0) random.pick([...waiting.values()]).abort();
  }

  #unknown({ caller }: Party): void {
    caller.prefillDone('never-placed');
    caller.outputBlock('never-placed', 7);
    caller.finish('never-placed', { workerFailed: true });
  }

  /** Its stream breaks; a new one announces again what ran, in part and with part of it done. */
  #cut(party: Party): void {
    const { random, open } = this.#options;
    const had = party.running.splice(0);
    party.caller.close();
    party.waiting.clear();
    party.caller = open(this.#parties.indexOf(party));
    if (party.caller.reannounce === undefined) return;
    for (const running of had) {
      if (random.oneIn(3)) continue;
      const { instanceId, dataParallelRank, overlapTokens } = running.decision;
      const { request: route, outputTokens } = running;
      const prefillDone = random.oneIn(2);
      party.caller.reannounce({ route, instanceId, dataParallelRank, overlapTokens, prefillDone, outputTokens });
      party.running.push(running);
    }
  }

  #count(outcome: string): void {
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  #sum(of: (party: Party) => number): number {
    return this.#parties.reduce((sum, party) => sum + of(party), 0);
  }
}
