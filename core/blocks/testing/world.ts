import type { Random } from '../../kv-index/testing/random.ts';
import { BlockError } from '../block-error.ts';
import { BlockManager } from '../block-manager.ts';
import type { Quota } from '../block-store.ts';
import type { EvictionPolicyFactory } from '../eviction/policy.ts';
import { isSound, type Lease, nowhere } from '../reading.ts';
import { type TierIndex, warmestFirst } from '../tiers.ts';
import { commitOutcomes, type Reservation } from '../writing.ts';
import { chainOf, checksumOf, contentOf, digestsOf, hashOf, pathTo } from './prompts.ts';
import { ReplayedPresence } from './replayed-presence.ts';

export const nodes = 63;
const tenants = ['a', 'a', 'b'] as const;

interface Write {
  readonly reservation: Reservation;
  readonly namespace: number;
  /** Node of each slot. */
  readonly nodes: readonly number[];
}

interface Read {
  readonly lease: Lease;
  readonly namespace: number;
  readonly nodes: readonly number[];
  /** Whether a drop or purge may have taken the block while it was read. */
  readonly holder: Actor;
}

/** A worker: alive, lost (its stream ended, the process may wake), or dead as the manager believes. */
interface Actor {
  readonly id: number;
  state: 'alive' | 'lost' | 'dead';
  writes: Write[];
  reads: Read[];
  /** Reservations that came to their end: their tickets must be good for nothing. */
  ended: Reservation[];
}

export interface WorldSettings {
  readonly eviction: EvictionPolicyFactory;
  readonly blocks: readonly [number, number, number];
  /** Slots of one tenant in a tier at most. */
  readonly quota: number;
  /** Whether workers that were believed dead wake all the same and write. */
  readonly zombies: boolean;
}

/** Workers, memory and block manager in one: random histories, and whatever must hold after each step of them. */
export class World {
  readonly manager: BlockManager;
  readonly memory: readonly Float64Array[];
  readonly generations: readonly Uint32Array[];
  readonly namespaces: readonly number[];
  readonly presence = new ReplayedPresence();
  readonly seen: Record<string, number> = {};
  readonly #random: Random;
  readonly #settings: WorldSettings;
  #actors: Actor[] = [];

  constructor(random: Random, settings: WorldSettings) {
    this.#random = random;
    this.#settings = settings;
    this.memory = settings.blocks.map((blocks) => new Float64Array(blocks));
    this.generations = settings.blocks.map((blocks) => new Uint32Array(blocks));
    const arenas = settings.blocks.map((blocks, tier) => {
      const generations = this.generations[tier] ?? new Uint32Array();
      return [{ blockBytes: 64, blocks, eviction: settings.eviction, epoch: 9, generations }] as const;
    });
    const [host = [], disk = [], object = []] = arenas;
    const quota: Quota = () => settings.quota;
    this.manager = new BlockManager({ tiers: [host, disk, object], quota, eventLimit: 4096 });
    this.namespaces = tenants.map((tenant, index) =>
      this.manager.namespace({ digest: String(index).repeat(32), model: 'm', tenant, arena: 0 }),
    );
  }

  step(): void {
    const random = this.#random;
    const roll = random.below(100);
    while (this.#actors.filter(({ state }) => state === 'alive').length < 4) this.#attach();
    if (this.#actors.length > 12) this.#actors.splice(this.#actors.findIndex(({ state }) => state === 'dead') >>> 0, 1);
    const actor = random.pick(this.#actors);
    if (roll < 3) this.#attach();
    else if (roll < 33) this.#reserve(actor);
    else if (roll < 58) this.#commit(actor);
    else if (roll < 63) this.#abort(actor);
    else if (roll < 78) this.#pin(actor);
    else if (roll < 90) this.#release(actor);
    else if (roll < 95) this.#detach(actor);
    else if (roll < 97) this.manager.evict(this.#tier(), 0, 1 + random.below(4));
    else if (roll < 99) this.#drop();
    else this.manager.purge(random.pick(tenants));
    this.check();
  }

  /** Ends everything that is alive, then empties the tiers. */
  end(): void {
    for (const actor of this.#actors) this.manager.detach(actor.id, true);
    this.#actors = [];
    this.check();
    for (const tier of warmestFirst) this.manager.evict(tier, 0, 1000);
    this.check();
  }

  check(): void {
    const changes = this.manager.takeEvents();
    if (changes === null) throw new Error('events were lost');
    this.presence.apply(changes);
    for (const use of this.manager.use()) {
      const sum = use.free + use.partial + use.registered + use.doomed + use.revoked;
      if (sum !== use.blocks) throw new Error(`${sum} slots of ${use.blocks} in tier ${use.tier}`);
      if (use.registered !== this.presence.tiers[use.tier]?.size)
        throw new Error(`tier ${use.tier} has ${use.registered} blocks, its events say otherwise`);
      for (const tenant of ['a', 'b'])
        if (this.manager.tenantBlocks(use.tier, 0, tenant) > this.#settings.quota)
          throw new Error(`tenant ${tenant} is over its quota`);
    }
    this.#checkScan();
    this.#checkOwners();
  }

  count(what: string): void {
    this.seen[what] = (this.seen[what] ?? 0) + 1;
  }

  #checkScan(): void {
    const all = Array.from({ length: nodes }, (_, node) => node);
    for (const namespace of this.namespaces)
      for (const [node, tier] of this.manager.scan(namespace, digestsOf(all)).entries()) {
        const key = `${namespace}:${hashOf(node)}`;
        const told = this.presence.tiers.findIndex((present) => present.has(key));
        if ((tier === nowhere ? -1 : tier) !== told) throw new Error(`${key}: found in ${tier}, told of ${told}`);
      }
  }

  /** No slot has two writers, nor a writer and a reader; what is read stays as it is. */
  #checkOwners(): void {
    const writers = new Set<string>();
    for (const actor of this.#actors) {
      if (actor.state === 'dead') continue;
      for (const { reservation } of actor.writes)
        for (const slot of reservation.slots) {
          const key = `${reservation.tier}:${slot}`;
          if (writers.has(key)) throw new Error(`slot ${key} has two writers`);
          writers.add(key);
        }
    }
    for (const actor of this.#actors.filter(({ state }) => state === 'alive'))
      for (const read of actor.reads) {
        for (const slot of read.lease.slots)
          if (writers.has(`${read.lease.tier}:${slot}`)) throw new Error(`slot ${slot} is read and written`);
        this.#read(read, !this.#settings.zombies);
      }
  }

  /** Copies every block of a lease; bytes that pass the check must be the block's, those under a live pin must pass. */
  #read(read: Read, mustPass: boolean): void {
    const { tier, slots } = read.lease;
    for (const [at, slot] of slots.entries()) {
      const content = this.memory[tier]?.[slot] ?? 0;
      const [low, high] = checksumOf(content);
      const generation = this.generations[tier]?.[slot] ?? 0;
      const sound = isSound(read.lease, at, { epoch: 9, generation, low, high });
      const right = content === contentOf(read.namespace, read.nodes[at] ?? -1);
      if (sound && !right) throw new Error(`slot ${slot} of tier ${tier} was read as another block`);
      if (!sound && mustPass) throw new Error(`slot ${slot} of tier ${tier} changed under its reader`);
      if (!sound) this.count('reads refused');
    }
  }

  #attach(): Actor {
    const actor: Actor = { id: this.manager.attach(), state: 'alive', writes: [], reads: [], ended: [] };
    this.#actors.push(actor);
    return actor;
  }

  #tier(): TierIndex {
    return this.#random.pick(warmestFirst);
  }

  #reserve(actor: Actor): void {
    const node = this.#random.below(nodes);
    const namespace = this.#random.pick(this.namespaces);
    const path = pathTo(node);
    const from = this.#random.below(path.length);
    const chain = chainOf(namespace, node, from);
    const tier = this.#tier();
    const before = this.manager.use()[tier];
    const reservation = this.#try(actor, () => this.manager.reserve(actor.id, tier, chain, this.#random.below(3)));
    if (reservation === undefined) {
      const after = this.manager.use()[tier];
      if (before?.partial !== after?.partial) throw new Error('a refused reservation took slots');
      return;
    }
    actor.writes.push({
      reservation,
      namespace,
      nodes: Array.from(reservation.blocks, (block) => path[from + block] ?? -1),
    });
  }

  #commit(actor: Actor): void {
    const write = actor.writes[this.#random.below(actor.writes.length + 1)];
    if (write === undefined) return;
    if (actor.state === 'dead' && !this.#settings.zombies) return;
    const { reservation } = write;
    const memory = this.memory[reservation.tier];
    // One that was believed dead may have written half of a block when it was stopped.
    for (const [at, slot] of reservation.slots.entries())
      if (memory !== undefined)
        memory[slot] =
          actor.state === 'dead' ? -this.#random.below(1000) : contentOf(write.namespace, write.nodes[at] ?? -1);
    const checksums = Uint32Array.from(write.nodes.flatMap((node) => checksumOf(contentOf(write.namespace, node))));
    const outcomes = this.#try(actor, () => this.manager.commit(actor.id, { ...reservation, checksums }));
    if (actor.state === 'alive') actor.writes = actor.writes.filter((other) => other !== write);
    for (const outcome of outcomes ?? []) {
      this.count(`commit ${outcome}`);
      if (outcome === commitOutcomes.refused) throw new Error('a commit of one who is alive was refused');
    }
    if (actor.state !== 'alive') return;
    actor.ended.push(reservation);
    this.#commitOld(actor);
  }

  #commitOld(actor: Actor): void {
    for (const reservation of actor.ended) {
      const checksums = new Uint32Array(2 * reservation.slots.length);
      const outcomes = this.manager.commit(actor.id, { ...reservation, checksums });
      if (outcomes.some((outcome) => outcome !== commitOutcomes.refused)) throw new Error('a ticket was good twice');
      if (this.manager.abort(actor.id, reservation) > 0)
        throw new Error('a ticket was good for an abort after its end');
    }
  }

  #abort(actor: Actor): void {
    const write = actor.writes[this.#random.below(actor.writes.length + 1)];
    if (write === undefined) return;
    this.#try(actor, () => this.manager.abort(actor.id, write.reservation));
    if (actor.state === 'alive') actor.writes = actor.writes.filter((other) => other !== write);
  }

  #pin(actor: Actor): void {
    const namespace = this.#random.pick(this.namespaces);
    const path = pathTo(this.#random.below(nodes));
    const tier = this.#tier();
    const lease = this.#try(actor, () => this.manager.pin(actor.id, tier, namespace, digestsOf(path), path.keys()));
    if (lease === undefined) return;
    const read = { lease, namespace, nodes: Array.from(lease.blocks, (block) => path[block] ?? -1), holder: actor };
    actor.reads.push(read);
    this.#read(read, !this.#settings.zombies);
  }

  #release(actor: Actor): void {
    const read = actor.reads[this.#random.below(actor.reads.length + 1)];
    if (read === undefined) return;
    this.#read(read, actor.state === 'alive' && !this.#settings.zombies);
    this.#try(actor, () => this.manager.release(actor.id, read.lease.id));
    if (actor.state === 'alive') actor.reads = actor.reads.filter((other) => other !== read);
  }

  #detach(actor: Actor): void {
    const proven = this.#random.chance(0.5);
    this.count(`detach ${actor.state} ${proven}`);
    this.manager.detach(actor.id, proven);
    if (actor.state !== 'dead') actor.state = proven ? 'dead' : 'lost';
  }

  #drop(): void {
    const namespace = this.#random.pick(this.namespaces);
    this.manager.drop(this.#tier(), namespace, digestsOf([this.#random.below(nodes)]), 0);
  }

  /** Runs a call; one of a worker that is gone must be refused, others may be for want of room. */
  #try<T>(actor: Actor, call: () => T): T | undefined {
    try {
      const result = call();
      if (actor.state !== 'alive') throw new Error(`a call of one who is ${actor.state} was served`);
      return result;
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      this.count(error.code);
      const allowed = actor.state === 'alive' ? ['arena_full', 'quota_exceeded'] : ['unknown_holder'];
      if (!allowed.includes(error.code)) throw error;
      return undefined;
    }
  }
}
