import type { KvIndex } from '#core/kv-index/kv-index.ts';
import type { KvEvent } from '#gen/stator/events/v1/events_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { tierNumber } from './kv-events/apply-change.ts';
import type { KvSlots, KvSource } from './kv-events/kv-slots.ts';

/** What a caller's events did. */
export interface Applied {
  /** Events that changed the index. */
  readonly applied: number;
  /** Events that named blocks which the index has not. */
  readonly unmatched: number;
}

/** Caches whose events callers push, one rank of a worker at a time. Bounded by the slots of the index. */
export class PushedCaches {
  readonly #index: KvIndex;
  readonly #slots: KvSlots;
  readonly #onClosed: (source: KvSource) => void;
  readonly #sources = new Map<string, KvSource>();

  /** `onClosed`: a rank is not known any more. */
  constructor(index: KvIndex, slots: KvSlots, onClosed: (source: KvSource) => void) {
    this.#index = index;
    this.#slots = slots;
    this.#onClosed = onClosed;
  }

  /** Begins to take events of a rank. Throws `conflict` where the router follows it itself, `overloaded` without a slot left. */
  open(source: KvSource): void {
    const key = keyOf(source);
    if (this.#sources.has(key)) return;
    if (this.#slots.slotOf(source) >= 0)
      throw new StatorError('conflict', `The router follows the worker ${source.instanceId} itself.`, {
        field: 'instance_id',
      });
    try {
      this.#slots.publish(source, this.#slots.allocate());
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
      throw new StatorError('overloaded', `The index has no room for another rank: ${thrown.message}`);
    }
    this.#sources.set(key, source);
  }

  /** Applies events of a rank that is open. Throws `invalid_argument` for columns of a broken length. */
  apply(source: KvSource, events: readonly KvEvent[]): Applied {
    const slot = this.#slots.slotOf(source);
    let applied = 0;
    let unmatched = 0;
    for (const [at, { change }] of events.entries()) {
      const field = `events[${at}].${change.case ?? 'change'}`;
      if (change.case === 'cleared') {
        this.#index.clearSlot(slot);
        applied++;
      } else if (change.case === 'stored' || change.case === 'removed') {
        const { tier, sequenceHashes } = change.value;
        if (sequenceHashes.length === 0 || sequenceHashes.length % 8 !== 0)
          throw StatorError.invalid(`${field}.sequence_hashes`, 'Expected 8 bytes for each of at least one hash.');
        const counts =
          change.case === 'stored'
            ? this.#index.store(slot, tierNumber(tier), change.value.parentSequenceHash, sequenceHashes)
            : this.#index.remove(slot, tierNumber(tier), sequenceHashes);
        if (counts.stored + counts.removed > 0) applied++;
        if (counts.unmatchedParents + counts.unmatchedRemovals > 0) unmatched++;
      } else {
        throw StatorError.invalid(field, 'Expected one of stored, removed and cleared.');
      }
    }
    return { applied, unmatched };
  }

  /** Forgets the ranks of a worker that were pushed; a rank alone where one is named. Returns how many. */
  close(model: string, instanceId: bigint, dataParallelRank?: number): number {
    let closed = 0;
    for (const [key, source] of this.#sources) {
      if (source.model !== model || source.instanceId !== instanceId) continue;
      if (dataParallelRank !== undefined && source.dataParallelRank !== dataParallelRank) continue;
      this.#slots.withdraw(source);
      this.#sources.delete(key);
      this.#onClosed(source);
      closed++;
    }
    return closed;
  }

  /** Forgets a worker, whatever it served. */
  closeWorker(instanceId: bigint): void {
    for (const { model, instanceId: id } of [...this.#sources.values()]) if (id === instanceId) this.close(model, id);
  }

  /** Tokens in a block of the model's pushed caches; undefined: there are none. */
  blockSizeOf(model: string): number | undefined {
    for (const source of this.#sources.values()) if (source.model === model) return source.blockSize;
    return undefined;
  }
}

function keyOf({ model, instanceId, dataParallelRank }: KvSource): string {
  return `${instanceId}/${dataParallelRank}/${model}`;
}
