/** What is known of a worker's rank that may serve a request. */
interface Candidate {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
  /** The rank's number in the index and the accounts. */
  readonly slot: number;
  /** Requests placed there and not finished. */
  readonly activeRequests: number;
  /** Sequences that the worker itself reports as running or waiting. 0: not reported. */
  readonly reportedSequences: number;
  /** Prompt tokens placed there and not computed. */
  readonly activePrefillTokens: number;
  /** KV blocks that placed requests hold. */
  readonly activeBlocks: number;
  /** Tokens of prompts and outputs placed there, done and expected. */
  readonly activeTokens: number;
  /** KV blocks that the request would add to them. */
  readonly newBlocks: number;
  /** Blocks from the start of the prompt that it has on its device. */
  readonly deviceBlocks: number;
  /** The same in host memory, beyond the device's. */
  readonly hostBlocks: number;
  /** The same on disk, beyond those. */
  readonly diskBlocks: number;
  /** The same elsewhere, beyond those. */
  readonly externalBlocks: number;
  /** Blocks beyond all of those that a cache shared by all workers has. */
  readonly sharedBlocks: number;
  /** Factor on its cost, from preferred taints and topology; 1: none. */
  readonly preference: number;
  /** Work that its device does in the time in which the slowest kind does one. */
  readonly deviceWeight: number;
}

/** A candidate of which not everything is known. */
export type KnownCandidate = Pick<Candidate, 'instanceId'> & Partial<Candidate>;

type Column = Exclude<keyof Candidate, 'instanceId'>;

/** What a row says that nothing is known of. */
const blank: Readonly<Record<Column, number>> = {
  dataParallelRank: 0,
  slot: 0,
  activeRequests: 0,
  reportedSequences: 0,
  activePrefillTokens: 0,
  activeBlocks: 0,
  activeTokens: 0,
  newBlocks: 0,
  deviceBlocks: 0,
  hostBlocks: 0,
  diskBlocks: 0,
  externalBlocks: 0,
  sharedBlocks: 0,
  preference: 1,
  deviceWeight: 1,
};

const columns = Object.keys(blank) as readonly Column[];

/**
 * The candidates of one decision, a column per property, so that hundreds of them are weighed without an object for
 * each. One table serves decision after decision: `clear`, then `add` a row and write its columns.
 */
export class CandidateTable implements Record<Column, Float64Array> {
  readonly instanceIds: bigint[] = [];
  dataParallelRank = new Float64Array();
  slot = new Float64Array();
  activeRequests = new Float64Array();
  reportedSequences = new Float64Array();
  activePrefillTokens = new Float64Array();
  activeBlocks = new Float64Array();
  activeTokens = new Float64Array();
  newBlocks = new Float64Array();
  deviceBlocks = new Float64Array();
  hostBlocks = new Float64Array();
  diskBlocks = new Float64Array();
  externalBlocks = new Float64Array();
  sharedBlocks = new Float64Array();
  preference = new Float64Array();
  deviceWeight = new Float64Array();
  /** What each row costs under the policy that weighed last. */
  costs = new Float64Array();
  #count = 0;

  /** Rows in use. */
  get count(): number {
    return this.#count;
  }

  clear(): void {
    this.#count = 0;
    this.instanceIds.length = 0;
    for (const column of columns) this[column].fill(blank[column]);
  }

  /** Adds a row of which only the identity is known and returns its number. */
  add(instanceId: bigint, dataParallelRank: number, slot: number): number {
    const row = this.#count++;
    if (row >= this.costs.length) this.#grow();
    this.instanceIds.push(instanceId);
    this.dataParallelRank[row] = dataParallelRank;
    this.slot[row] = slot;
    return row;
  }

  /** Adds a row at once; what is left out is as if nothing were known. */
  push(candidate: KnownCandidate): number {
    const { instanceId, dataParallelRank = 0, slot = this.#count, ...known } = candidate;
    const row = this.add(instanceId, dataParallelRank, slot);
    for (const [column, value] of Object.entries(known)) this[column as keyof typeof known][row] = value;
    return row;
  }

  #grow(): void {
    const capacity = Math.max(16, this.costs.length * 2);
    for (const column of [...columns, 'costs'] as const) {
      const wider = new Float64Array(capacity).fill(column === 'costs' ? 0 : blank[column]);
      wider.set(this[column]);
      this[column] = wider;
    }
  }
}
