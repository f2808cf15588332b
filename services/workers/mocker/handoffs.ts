import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { type KvHandoff, KvHandoffSchema } from '#gen/stator/transfer/v1/handoff_pb.ts';

/** A finished prefill and who holds its blocks. */
export interface HeldPrefill {
  readonly rank: { releaseHandoff(id: number): void };
  readonly id: number;
}

interface Entry extends HeldPrefill {
  readonly deadlineMs: number;
}

/** KV that waits for its decoders, until they release it or a deadline passes; the blocks bound how much there can be. */
export class Handoffs {
  readonly #ttlMs: number;
  /** Oldest first, so the first deadline is the next. */
  readonly #entries = new Map<string, Entry>();
  #timer: NodeJS.Timeout | undefined;

  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  add(held: HeldPrefill, o: { readonly tokens: number; readonly firstTokenId: number }): KvHandoff {
    const handoffId = randomUUID();
    this.#entries.set(handoffId, { ...held, deadlineMs: performance.now() + this.#ttlMs });
    this.#watch();
    const deadlineUnixMs = BigInt(Date.now() + this.#ttlMs);
    return create(KvHandoffSchema, { handoffId, deadlineUnixMs, ...o });
  }

  /** False for an unknown one. */
  release(handoffId: string): boolean {
    const entry = this.#entries.get(handoffId);
    if (entry === undefined) return false;
    this.#entries.delete(handoffId);
    entry.rank.releaseHandoff(entry.id);
    return true;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#entries.clear();
  }

  #watch(): void {
    if (this.#timer !== undefined) return;
    const [next] = this.#entries.values();
    if (next === undefined) return;
    this.#timer = setTimeout(() => this.#expire(), Math.max(0, next.deadlineMs - performance.now()));
    this.#timer.unref();
  }

  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const [handoffId, { deadlineMs }] of this.#entries) {
      if (deadlineMs > now) break;
      this.release(handoffId);
    }
    this.#watch();
  }
}
