import { randomBytes } from 'node:crypto';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { Lease } from '#core/blocks/reading.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { HostTier } from '../host-tier.ts';
import type { PeerMetrics } from './metrics.ts';

export interface StagesOptions {
  readonly manager: BlockManager;
  readonly host: HostTier;
  readonly maxStages: number;
  readonly maxBytes: number;
  readonly metrics: PeerMetrics;
}

/** How a stage ended; a label of a counter. */
export type StageEnd = 'released' | 'late' | 'failed' | 'stopped';

/** Blocks of one layout that are kept in host memory for another node. */
export interface Stage {
  readonly id: string;
  /** Bytes that it may pin. */
  readonly bytes: number;
  readonly leases: Lease[];
  timer: NodeJS.Timeout | undefined;
  isOpen: boolean;
}

/** Everything that is kept for other nodes. Bounded in number, bytes and time; whatever happens to the other node, it ends. */
export class Stages {
  readonly #options: StagesOptions;
  readonly #holder: number;
  readonly #open = new Map<string, Stage>();
  #bytes = 0;
  #stopped = false;

  constructor(options: StagesOptions) {
    this.#options = options;
    this.#holder = options.manager.attach();
  }

  /** Blocks of so many bytes that may be kept beyond those that are. */
  room(blockBytes: number): number {
    return Math.floor((this.#options.maxBytes - this.#bytes) / blockBytes);
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Throws `overloaded` when there are too many, and `draining` after the end. */
  begin(bytes: number): Stage {
    if (this.#stopped) throw new StatorError('draining', 'The block manager stops.');
    if (this.#open.size >= this.#options.maxStages)
      throw new StatorError('overloaded', `There are ${this.#open.size} stages already.`);
    const stage: Stage = { id: randomBytes(16).toString('hex'), bytes, leases: [], timer: undefined, isOpen: true };
    this.#open.set(stage.id, stage);
    this.#bytes += bytes;
    this.#show();
    return stage;
  }

  /** Pins blocks for a stage: those of `wanted` that host memory has. Undefined when the stage has ended meanwhile. */
  pin(stage: Stage, namespace: number, digests: Uint32Array, wanted: Iterable<number>): Lease | undefined {
    if (!stage.isOpen) return undefined;
    const lease = this.#options.host.pin(this.#holder, namespace, digests, wanted);
    stage.leases.push(lease);
    return lease;
  }

  /** Ends it after so long. */
  expire(stage: Stage, timeoutMs: number): void {
    stage.timer = setTimeout(() => this.end(stage.id, 'late'), timeoutMs);
    stage.timer.unref();
  }

  /** False when there is no such stage any more. */
  end(id: string, why: StageEnd): boolean {
    const stage = this.#open.get(id);
    if (stage === undefined) return false;
    this.#open.delete(id);
    this.#bytes -= stage.bytes;
    stage.isOpen = false;
    clearTimeout(stage.timer);
    for (const { id: lease } of stage.leases) this.#options.host.release(this.#holder, lease);
    this.#options.metrics.staged.inc({ end: why });
    this.#show();
    return true;
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const id of [...this.#open.keys()]) this.end(id, 'stopped');
    this.#options.manager.detach(this.#holder, true);
  }

  #show(): void {
    this.#options.metrics.stages.set(this.#open.size);
    this.#options.metrics.stagedBytes.set(this.#bytes);
  }
}
