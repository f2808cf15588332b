import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import type { Choice, ChoiceWorker } from './choice.ts';

/** Why KV that a prefill worker held was given back without having been used. */
export type ReleaseCause = 'ended' | 'cancelled' | 'abandoned' | 'expired';

/** Tells prefill workers that nobody will fetch the KV they hold. Never throws; a worker that does not hear of it has a deadline. */
export interface HandoffHolders {
  release(instanceId: bigint, handoffId: string, because: ReleaseCause): void;
  /** How many more handoffs this gateway is responsible for. */
  held(added: number): void;
}

interface Held {
  readonly holder: ChoiceWorker;
  readonly handoff: KvHandoff;
  /** Output tokens of the choice that the handoff stands behind. */
  readonly outputTokens: number;
}

/** KV that prefill workers hold for the choices of a generation. It leaves here once: to decode, or by being released. */
export class Handoffs {
  readonly #holders: HandoffHolders;
  readonly #held = new Map<Choice, Held>();

  constructor(holders: HandoffHolders) {
    this.#holders = holders;
  }

  hold(choice: Choice, holder: ChoiceWorker, handoff: KvHandoff): void {
    this.release(choice, 'abandoned');
    this.#held.set(choice, { holder, handoff, outputTokens: choice.tokenIds.length });
    this.#holders.held(1);
  }

  /** What decode may still continue from; releases what it may not. */
  usable(choice: Choice, nowUnixMs: number): Held | undefined {
    const held = this.#held.get(choice);
    if (held === undefined) return undefined;
    const expired = Number(held.handoff.deadlineUnixMs) <= nowUnixMs;
    if (!expired && held.outputTokens === choice.tokenIds.length) return held;
    this.release(choice, expired ? 'expired' : 'abandoned');
    return undefined;
  }

  /** The decode worker has the KV, and releases it at its holder. */
  taken(choice: Choice): void {
    if (this.#held.delete(choice)) this.#holders.held(-1);
  }

  release(choice: Choice, because: ReleaseCause): void {
    const held = this.#held.get(choice);
    if (held === undefined) return;
    this.taken(choice);
    this.#holders.release(held.holder.instanceId, held.handoff.handoffId, because);
  }

  /** A handoff of a sequence that nobody waits for any more. */
  refuse(holder: ChoiceWorker, handoff: KvHandoff): void {
    this.#holders.release(holder.instanceId, handoff.handoffId, 'cancelled');
  }
}
