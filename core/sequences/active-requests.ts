/** One placed request and what it holds on its worker. */
export interface Placement {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
  readonly model: string;
  /** Prompt tokens that must be computed. */
  readonly prefillTokens: number;
  /** KV blocks of prompt and expected sequences. */
  readonly blocks: number;
  readonly blockSize: number;
}

/** What is in flight on one rank of a worker. */
export interface RankTotals {
  activeRequests: number;
  activePrefillTokens: number;
  activeBlocks: number;
}

interface ActiveRequest {
  readonly placement: Placement;
  prefilling: boolean;
  outputBlocks: number;
}

const idle: Readonly<RankTotals> = { activeRequests: 0, activePrefillTokens: 0, activeBlocks: 0 };

/**
 * What placed requests hold, by worker and rank. A request belongs to an owner (a gateway's stream), whose end frees all
 * it has; every other call is idempotent, and unknown requests are ignored, so that no order of events can leak.
 */
export class ActiveRequests {
  readonly #owners = new Map<string, Map<string, ActiveRequest>>();
  readonly #totals = new Map<string, RankTotals>();
  #size = 0;

  /** Requests in flight. */
  get size(): number {
    return this.#size;
  }

  /** Owners that have or had requests and have not ended. */
  get owners(): number {
    return this.#owners.size;
  }

  totals(instanceId: bigint, dataParallelRank: number): Readonly<RankTotals> {
    return this.#totals.get(rankKey(instanceId, dataParallelRank)) ?? idle;
  }

  has(owner: string, requestId: string): boolean {
    return this.#owners.get(owner)?.has(requestId) ?? false;
  }

  /** Places a request; false when its owner has one of that identifier already. */
  place(owner: string, requestId: string, placement: Placement): boolean {
    const requests = this.#owners.get(owner) ?? new Map<string, ActiveRequest>();
    if (requests.has(requestId)) return false;
    this.#owners.set(owner, requests);
    requests.set(requestId, { placement, prefilling: true, outputBlocks: 0 });
    this.#size++;
    const totals = this.#rank(placement);
    totals.activeRequests++;
    totals.activePrefillTokens += placement.prefillTokens;
    totals.activeBlocks += placement.blocks;
    return true;
  }

  /** The prompt is computed. */
  prefillDone(owner: string, requestId: string): boolean {
    const request = this.#owners.get(owner)?.get(requestId);
    if (request === undefined) return false;
    this.#endPrefill(request);
    return true;
  }

  /** Output so far; blocks it fills are held. Never shrinks. */
  output(owner: string, requestId: string, outputTokens: number): boolean {
    const request = this.#owners.get(owner)?.get(requestId);
    if (request === undefined) return false;
    this.#endPrefill(request);
    const blocks = Math.floor(outputTokens / Math.max(1, request.placement.blockSize));
    if (blocks > request.outputBlocks) {
      this.#rank(request.placement).activeBlocks += blocks - request.outputBlocks;
      request.outputBlocks = blocks;
    }
    return true;
  }

  /** The request ended; false when it was not in flight. */
  finish(owner: string, requestId: string): Placement | null {
    const requests = this.#owners.get(owner);
    const request = requests?.get(requestId);
    if (requests === undefined || request === undefined) return null;
    requests.delete(requestId);
    if (requests.size === 0) this.#owners.delete(owner);
    this.#free(request);
    return request.placement;
  }

  /** Everything of an owner ended, for example because its stream did. Returns how many. */
  endOwner(owner: string): number {
    const requests = this.#owners.get(owner);
    if (requests === undefined) return 0;
    this.#owners.delete(owner);
    for (const request of requests.values()) this.#free(request);
    return requests.size;
  }

  /** Everything on a worker ended, because it is gone. Returns how many. */
  endWorker(instanceId: bigint): number {
    let ended = 0;
    for (const [owner, requests] of this.#owners) {
      for (const [requestId, request] of requests) {
        if (request.placement.instanceId !== instanceId) continue;
        requests.delete(requestId);
        this.#free(request);
        ended++;
      }
      if (requests.size === 0) this.#owners.delete(owner);
    }
    return ended;
  }

  #endPrefill(request: ActiveRequest): void {
    if (!request.prefilling) return;
    request.prefilling = false;
    this.#rank(request.placement).activePrefillTokens -= request.placement.prefillTokens;
  }

  #free(request: ActiveRequest): void {
    this.#endPrefill(request);
    const { placement, outputBlocks } = request;
    const totals = this.#rank(placement);
    totals.activeRequests--;
    totals.activeBlocks -= placement.blocks + outputBlocks;
    this.#size--;
    if (totals.activeRequests === 0) this.#totals.delete(rankKey(placement.instanceId, placement.dataParallelRank));
  }

  #rank({ instanceId, dataParallelRank }: Placement): RankTotals {
    const key = rankKey(instanceId, dataParallelRank);
    let totals = this.#totals.get(key);
    if (totals === undefined) {
      totals = { ...idle };
      this.#totals.set(key, totals);
    }
    return totals;
  }
}

function rankKey(instanceId: bigint, dataParallelRank: number): string {
  return `${instanceId}/${dataParallelRank}`;
}
