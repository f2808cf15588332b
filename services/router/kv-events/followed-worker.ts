import type { Logger } from 'pino';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import type { Backoff } from '#lib/discovery/backoff.ts';
import type { RpcClient } from '#lib/rpc/client.ts';
import type { KvEventFrames } from '#lib/rpc/kv-event-frames.ts';
import { rankNumbers } from '../worker-ranks.ts';
import { KvFollower, type KvFollowerOptions } from './kv-follower.ts';
import type { KvSource } from './kv-slots.ts';

export interface FollowedWorkerOptions {
  connect(instance: Instance): RpcClient<typeof KvEventFrames>;
  readonly log: Logger;
  /** What every follower shares. */
  readonly follower: Omit<KvFollowerOptions, 'source' | 'subscribe' | 'backoff' | 'onStored'>;
  backoff(): Backoff;
  onStored(source: KvSource, events: number, blocks: number): void;
  onClosed(source: KvSource): void;
}

/** `nothing`: the worker promises no KV events. */
export type WorkerState = 'nothing' | 'inSync' | 'syncing' | 'noSource' | 'blockSizeUnknown';

interface Followed {
  readonly digest: string;
  readonly follower: KvFollower;
}

/** The streams of one worker: one for each model and rank that promises KV events, over one connection. */
export class FollowedWorker {
  readonly instanceId: bigint;
  readonly #o: FollowedWorkerOptions;
  readonly #target: string;
  readonly #connection: RpcClient<typeof KvEventFrames> | undefined;
  /** By model and rank. */
  readonly #followed = new Map<string, Followed>();
  #blockSizeUnknown = false;

  constructor(instance: Instance, options: FollowedWorkerOptions) {
    this.instanceId = instance.instanceId;
    this.#o = options;
    this.#target = targetOf(instance);
    this.#connection = this.#connect(instance);
    this.update(instance);
  }

  /** Follows what the cards promise now. False: the worker has moved, and must be followed anew. */
  update(instance: Instance): boolean {
    if (targetOf(instance) !== this.#target) return false;
    const gone = new Set(this.#followed.keys());
    this.#blockSizeUnknown = false;
    for (const card of instance.cards) {
      if (card.capabilities?.kvEvents !== true || instance.address === '') continue;
      const blockSize = card.limits?.kvBlockSize ?? 0;
      if (blockSize === 0) this.#refuse(card);
      else
        for (const dataParallelRank of rankNumbers(card)) {
          const source = { instanceId: instance.instanceId, dataParallelRank, model: card.name, blockSize };
          this.#follow(source, Buffer.from(card.digest).toString('hex'));
          gone.delete(keyOf(card.name, dataParallelRank));
        }
    }
    for (const key of gone) this.#unfollow(key);
    return true;
  }

  checkSilence(nowMs: number, firstMs: number, laterMs: number): void {
    for (const { follower } of this.#followed.values()) follower.checkSilence(nowMs, firstMs, laterMs);
  }

  /** That of the rank which is worst off; `sourceLimitMs`: how long an answer may take. */
  state(nowMs: number, sourceLimitMs: number): WorkerState {
    if (this.#blockSizeUnknown) return 'blockSizeUnknown';
    let state: WorkerState = 'nothing';
    for (const { follower } of this.#followed.values()) {
      if (follower.unansweredMs(nowMs) >= sourceLimitMs) return 'noSource';
      if (follower.state !== 'following') state = 'syncing';
      else if (state === 'nothing') state = 'inSync';
    }
    return state;
  }

  close(): void {
    for (const key of [...this.#followed.keys()]) this.#unfollow(key);
    this.#connection?.close();
  }

  #follow(source: KvSource, digest: string): void {
    const key = keyOf(source.model, source.dataParallelRank);
    const known = this.#followed.get(key);
    const connection = this.#connection;
    if (known?.digest === digest && known.follower.source.blockSize === source.blockSize) return;
    this.#unfollow(key);
    if (connection === undefined) return;
    const follower = new KvFollower({
      ...this.#o.follower,
      source,
      subscribe: (query, signal) => connection.client.subscribeKvEvents(query, { signal }),
      backoff: this.#o.backoff(),
      onStored: (events, blocks) => this.#o.onStored(source, events, blocks),
    });
    this.#followed.set(key, { digest, follower });
  }

  #unfollow(key: string): void {
    const followed = this.#followed.get(key);
    if (followed === undefined) return;
    this.#followed.delete(key);
    followed.follower.close();
    this.#o.onClosed(followed.follower.source);
  }

  #refuse(card: ModelCard): void {
    this.#blockSizeUnknown = true;
    this.#o.log.warn(
      { worker: this.instanceId.toString(16), model: card.name },
      'a worker promises KV events but its card does not tell its block size: they are not followed',
    );
  }

  #connect(instance: Instance): RpcClient<typeof KvEventFrames> | undefined {
    if (instance.address === '') return undefined;
    try {
      return this.#o.connect(instance);
    } catch (err) {
      this.#o.log.error({ worker: this.instanceId.toString(16), err }, 'a worker cannot be asked for its KV events');
      return undefined;
    }
  }
}

function targetOf({ address, tls }: Instance): string {
  return `${tls ? 'tls ' : ''}${address}`;
}

function keyOf(model: string, dataParallelRank: number): string {
  return `${dataParallelRank} ${model}`;
}
