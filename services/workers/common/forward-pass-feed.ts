import { create } from '@bufbuild/protobuf';
import { type ForwardPass, ForwardPassSchema } from '#gen/stator/events/v1/events_pb.ts';
import type { StepBatch } from './engine.ts';
import { Pulse } from './pulse.ts';

/** One reader's passes; the oldest are dropped when it is slow. */
export interface PassQueue {
  passes: ForwardPass[];
  dropped: number;
}

/** Forward passes of one engine for whoever follows them; costs nothing while nobody does. */
export class ForwardPassFeed {
  readonly pulse = new Pulse();
  readonly #capacity: number;
  readonly #onDropped: () => void;
  readonly #queues = new Set<PassQueue>();
  readonly #numbers = new Map<number, bigint>();

  constructor(capacity: number, onDropped: () => void) {
    this.#capacity = capacity;
    this.#onDropped = onDropped;
  }

  publish(pass: NonNullable<StepBatch['forwardPass']>): void {
    const number = (this.#numbers.get(pass.dataParallelRank) ?? 0n) + 1n;
    this.#numbers.set(pass.dataParallelRank, number);
    if (this.#queues.size === 0) return;
    const message = create(ForwardPassSchema, { ...pass, sequenceNumber: number });
    for (const queue of this.#queues) {
      queue.passes.push(message);
      if (queue.passes.length <= this.#capacity) continue;
      queue.passes.shift();
      queue.dropped++;
      this.#onDropped();
    }
    this.pulse.fire();
  }

  open(): PassQueue {
    const queue: PassQueue = { passes: [], dropped: 0 };
    this.#queues.add(queue);
    return queue;
  }

  close(queue: PassQueue): void {
    this.#queues.delete(queue);
  }
}
