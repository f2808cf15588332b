import { BlockError } from '#core/blocks/block-error.ts';
import type { Lease } from '#core/blocks/reading.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { commitOutcomes, type Reservation } from '#core/blocks/writing.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { KnownNamespace } from '../namespace-book.ts';
import { identityOf } from '../stored/expected.ts';
import type { LoadRequest } from '../tiers.ts';
import { chainOf, digestAt } from './chains.ts';
import { type RestingPlace, tierNames } from './depot.ts';
import { digestKey } from './digest-key.ts';
import type { Flight, Loader } from './loader.ts';

/** A block that this run itself brings. */
interface Own {
  readonly reservation: Reservation;
  readonly flight: Flight;
  state: 'reading' | 'read' | 'ended';
  checksum: bigint;
  size: number;
}

/** What is known of one wanted block. */
interface Wanted {
  own: Own | undefined;
  /** Somebody else's load of it that this run follows. */
  followed: Flight | undefined;
  failed: boolean;
}

/**
 * One load. Every block that host memory lacks and nobody loads yet is read at once; blocks are registered in the order
 * of the prompt, and the caller is told in the same turn. It ends at the first block that cannot be had, at the deadline
 * and at a cancel; reads that are under way then still end in host memory, where others find the blocks.
 */
export class LoadRun {
  /** Blocks that came, from the first on. Rejects with BlockError `arena_full` when not even one has room. */
  readonly result: Promise<number>;
  /** When nothing of it runs any more. */
  readonly ended: Promise<void>;
  readonly #loader: Loader;
  readonly #request: LoadRequest;
  readonly #namespace: KnownNamespace | undefined;
  readonly #wanted: Wanted[];
  readonly #result = Promise.withResolvers<number>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #aborted = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #startMs: number;
  readonly #follow = (): void => this.#advance();
  readonly #cancel = (): void => this.#finish();
  #front = 0;
  #reading = 0;
  /** When each block was read, in milliseconds since the start. */
  readonly #times: number[] = [];
  #isOver = false;
  #refused: unknown;

  constructor(loader: Loader, request: LoadRequest) {
    const { manager, namespaces, nowMs } = loader.parts;
    this.#loader = loader;
    this.#request = request;
    this.result = this.#result.promise;
    this.ended = this.#ended.promise;
    this.#namespace = namespaces.find(manager.namespaceAt(request.chain.namespace).digest);
    this.#wanted = Array.from({ length: request.count }, () => ({
      own: undefined,
      followed: undefined,
      failed: false,
    }));
    this.#startMs = nowMs();
    this.#timer = setTimeout(this.#cancel, Math.max(0, request.deadlineMs - this.#startMs));
    request.signal.addEventListener('abort', this.#cancel, { once: true });
    loader.stopping.addEventListener('abort', this.#cancel, { once: true });
    if (request.signal.aborted || loader.stopping.aborted) this.#finish();
    for (let index = 0; index < request.count && !this.#isOver; index++) if (!this.#begin(index)) break;
    this.#advance();
  }

  /** Makes sure that somebody brings the block; false when the run cannot go on to it. */
  #begin(index: number): boolean {
    const wanted = this.#of(index);
    if (this.#isThere(index)) return true;
    const flight = this.#loader.parts.flights.get(this.#key(index));
    if (flight === undefined) return this.#read(index, wanted);
    flight.waiting.add(this.#follow);
    wanted.followed = flight;
    return true;
  }

  #read(index: number, wanted: Wanted): boolean {
    const { host, flights, moverMetrics: metrics, depot } = this.#loader.parts;
    const { chain, from, priority } = this.#request;
    let reservation: Reservation;
    try {
      reservation = host.reserve(this.#loader.holder, chainOf(chain, from + index), priority);
    } catch (thrown) {
      if (!(thrown instanceof BlockError)) throw thrown;
      this.#refused ??= thrown;
      wanted.failed = true;
      metrics.loads.inc({ tier: tierNames[depot.tier], outcome: thrown.code });
      return false;
    }
    if (reservation.slots.length === 0) return true;
    const own: Own = { reservation, flight: { waiting: new Set() }, state: 'reading', checksum: 0n, size: 0 };
    wanted.own = own;
    flights.set(this.#key(index), own.flight);
    this.#reading++;
    metrics.loading.inc({ tier: tierNames[depot.tier] });
    void this.#fetch(index, own).then((isSound) => this.#arrived(index, own, isSound));
    return true;
  }

  /** Copies the block into its slot; false when it cannot be had. Never rejects. */
  async #fetch(index: number, own: Own): Promise<boolean> {
    const { host, manager, depot, log, moverMetrics: metrics } = this.#loader.parts;
    const { chain, layout, from } = this.#request;
    const tier = tierNames[depot.tier];
    const release = host.hold(layout.index);
    let lease: Lease | undefined;
    try {
      const place = this.#place(from + index);
      if (place === undefined) return false;
      // Keeps the slot from being written by an offload meanwhile; objects stay what they are.
      if (depot.tier === tiers.disk)
        lease = manager.pin(this.#loader.holder, depot.tier, chain.namespace, chain.digests, [from + index]);
      const room = host.payload(layout.index, own.reservation.slots[0] ?? 0);
      const expected = {
        ...identityOf(layout, place.namespace, place.digest),
        sequenceHash: chain.sequenceHashes[from + index] ?? 0n,
        ...(lease !== undefined && { generation: lease.generations[0] ?? 0 }),
      };
      const size = lease?.sizes[0];
      const read = await depot.read(place, expected, size, room, this.#aborted.signal);
      metrics.loads.inc({ tier, outcome: read.rejection === undefined ? 'loaded' : read.rejection });
      if (read.rejection === undefined) {
        own.checksum = read.checksum;
        own.size = read.header.payloadBytes;
        return true;
      }
      manager.drop(depot.tier, chain.namespace, chain.digests, from + index);
      if (read.rejection !== 'missing') this.#loader.track(depot.erase(place));
      return false;
    } catch (thrown) {
      metrics.loads.inc({ tier, outcome: StatorError.from(thrown).code });
      log.debug({ err: thrown, tier }, 'a block was not loaded');
      return false;
    } finally {
      if (lease !== undefined) manager.release(this.#loader.holder, lease.id);
      release();
    }
  }

  #arrived(index: number, own: Own, isSound: boolean): void {
    const { host, moverMetrics: metrics, depot, nowMs } = this.#loader.parts;
    this.#reading--;
    metrics.loading.dec({ tier: tierNames[depot.tier] });
    if (isSound) {
      own.state = 'read';
      this.#times.push(nowMs() - this.#startMs);
    } else {
      own.state = 'ended';
      this.#of(index).failed = true;
      host.abort(this.#loader.holder, own.reservation);
      this.#endFlight(index, own);
    }
    if (this.#isOver) this.#registerRest();
    else this.#advance();
    if (this.#isOver && this.#reading === 0) this.#ended.resolve();
  }

  /** Registers what is next, tells the caller, and sees to what it waits for. */
  #advance(): void {
    while (!this.#isOver) {
      const { from, count, loaded } = this.#request;
      const front = this.#front;
      const landed: number[] = [];
      for (let isNext = true; isNext && this.#front < count; ) {
        const own = this.#of(this.#front).own;
        isNext = own?.state === 'read' ? this.#register(this.#front, own) : this.#isThere(this.#front);
        if (own?.state === 'ended') landed.push(this.#front);
        if (isNext) this.#front++;
      }
      if (this.#front > front) loaded(from + front, this.#front - front);
      for (const index of landed) this.#endFlight(index, this.#of(index).own);
      if (this.#isOver) return;
      if (this.#front === count || !this.#isWaiting(this.#front)) this.#finish();
      else if (!this.#isThere(this.#front)) return;
    }
  }

  /** Whether the block is on its way, here or elsewhere; begins to load it where it is not. */
  #isWaiting(index: number): boolean {
    const { own, followed, failed } = this.#of(index);
    if (failed) return false;
    if (own?.state === 'reading') return true;
    if (followed !== undefined && this.#loader.parts.flights.get(this.#key(index)) === followed) return true;
    return this.#begin(index);
  }

  /** Lets others find a block that was read; false when its right to be there was taken back. */
  #register(index: number, own: Own): boolean {
    const { host } = this.#loader.parts;
    const { arena, epoch, slots, generations } = own.reservation;
    own.state = 'ended';
    const checksums = Uint32Array.of(Number(own.checksum & 0xffff_ffffn), Number(own.checksum >> 32n));
    const commit = { arena, epoch, slots, generations, checksums, sizes: Uint32Array.of(own.size) };
    const [outcome] = host.commit(this.#loader.holder, commit);
    const isThere = outcome === commitOutcomes.registered || outcome === commitOutcomes.duplicate;
    if (!isThere) this.#of(index).failed = true;
    return isThere;
  }

  /** What was read beyond the end is of use to others. */
  #registerRest(): void {
    for (const [index, { own }] of this.#wanted.entries()) {
      if (own?.state !== 'read') continue;
      this.#register(index, own);
      this.#endFlight(index, own);
    }
  }

  #endFlight(index: number, own: Own | undefined): void {
    if (own === undefined) return;
    const { flights } = this.#loader.parts;
    if (flights.get(this.#key(index)) === own.flight) flights.delete(this.#key(index));
    const waiting = [...own.flight.waiting];
    own.flight.waiting.clear();
    for (const advance of waiting) advance();
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#request.signal.removeEventListener('abort', this.#cancel);
    this.#loader.stopping.removeEventListener('abort', this.#cancel);
    for (const { followed } of this.#wanted) followed?.waiting.delete(this.#follow);
    if (this.#front === 0 && this.#refused !== undefined) this.#result.reject(this.#refused);
    else this.#result.resolve(this.#front);
    const first = this.#times[0];
    const last = this.#times.at(-1);
    const { blockBytes } = this.#request.layout;
    if (first !== undefined && last !== undefined)
      this.#loader.costs.measured(this.#times.length, blockBytes, first, last);
    this.#registerRest();
    const isWanted = this.#wanted.some(({ own }) => own?.state === 'reading' && own.flight.waiting.size > 0);
    if (!isWanted) this.#aborted.abort();
    if (this.#reading === 0) this.#ended.resolve();
  }

  #isThere(index: number): boolean {
    const { chain, from } = this.#request;
    return this.#loader.parts.manager.slotOf(tiers.host, chain.namespace, chain.digests, from + index) >= 0;
  }

  #place(block: number): RestingPlace | undefined {
    const { manager, depot } = this.#loader.parts;
    const { chain, layout } = this.#request;
    const slot = manager.slotOf(depot.tier, chain.namespace, chain.digests, block);
    if (this.#namespace === undefined || (depot.tier === tiers.disk && slot < 0)) return undefined;
    return { layout, namespace: this.#namespace, digest: digestAt(chain.digests, block), slot };
  }

  #key(index: number): string {
    const { chain, from } = this.#request;
    return digestKey(chain.namespace, digestAt(chain.digests, from + index));
  }

  #of(index: number): Wanted {
    const wanted = this.#wanted[index];
    if (wanted === undefined) throw new RangeError(`the load has no block ${index}`);
    return wanted;
  }
}
