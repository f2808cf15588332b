import { type Instance, InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { type ModelCard, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';

/** A worker as one model sees it. */
export interface ModelWorker {
  readonly instance: Instance;
  readonly card: ModelCard;
}

/** The workers of one model whose cards agree. */
export interface ModelSet {
  readonly name: string;
  readonly card: ModelCard;
  readonly workers: ReadonlyMap<bigint, ModelWorker>;
}

interface MutableSet {
  readonly name: string;
  card: ModelCard;
  digest: string;
  readonly workers: Map<bigint, ModelWorker>;
  /** Workers with another digest; the oldest takes over when the last of the set is gone. */
  readonly rejected: Map<bigint, ModelWorker>;
}

/** Models by name from workers' registrations. Cards of different digests never mix: the first holds the name until its workers are gone. */
export class ModelSets {
  readonly #sets = new Map<string, MutableSet>();
  readonly #onRejected: (instance: Instance, card: ModelCard) => void;

  /** `onRejected` is told once of every card that differs from the set it would join. */
  constructor(onRejected: (instance: Instance, card: ModelCard) => void) {
    this.#onRejected = onRejected;
  }

  all(): readonly ModelSet[] {
    return [...this.#sets.values()];
  }

  get(name: string): ModelSet | undefined {
    return this.#sets.get(name);
  }

  /** The model that a name, an alias or an adapter's name means, and the adapter (empty: none). */
  find(name: string): { readonly set: ModelSet; readonly adapter: string } | undefined {
    const named = this.#sets.get(name);
    if (named !== undefined) return { set: named, adapter: '' };
    const sets = this.all();
    const aliased = sets.find((set) => set.card.aliases.includes(name));
    if (aliased !== undefined) return { set: aliased, adapter: '' };
    const adapted = sets.find((set) => [...set.workers.values()].some((worker) => hasAdapter(worker, name)));
    return adapted === undefined ? undefined : { set: adapted, adapter: name };
  }

  upsert(instance: Instance): void {
    const named = new Set(instance.cards.map((card) => card.name));
    for (const name of [...this.#sets.keys()]) if (!named.has(name)) this.#leave(name, instance.instanceId);
    for (const card of instance.cards) this.#join({ instance, card });
  }

  remove(instanceId: bigint): void {
    for (const name of [...this.#sets.keys()]) this.#leave(name, instanceId);
  }

  #join(worker: ModelWorker): void {
    const { instance, card } = worker;
    const set = this.#sets.get(card.name);
    const digest = digestOf(card);
    if (set === undefined) {
      const workers = new Map([[instance.instanceId, worker]]);
      this.#sets.set(card.name, { name: card.name, card, digest, workers, rejected: new Map() });
    } else if (set.digest === digest) {
      set.rejected.delete(instance.instanceId);
      set.workers.set(instance.instanceId, worker);
      this.#succeed(set);
    } else {
      const known = set.rejected.has(instance.instanceId);
      set.workers.delete(instance.instanceId);
      set.rejected.set(instance.instanceId, worker);
      if (!known) this.#onRejected(instance, card);
      this.#succeed(set);
    }
  }

  #leave(name: string, instanceId: bigint): void {
    const set = this.#sets.get(name);
    if (set === undefined) return;
    set.workers.delete(instanceId);
    set.rejected.delete(instanceId);
    this.#succeed(set);
  }

  #succeed(set: MutableSet): void {
    const first = set.workers.values().next().value;
    if (first !== undefined) {
      // Adapters may have changed, which the digest does not cover.
      set.card = first.card;
      return;
    }
    const heir = set.rejected.values().next().value;
    if (heir === undefined) {
      this.#sets.delete(set.name);
      return;
    }
    set.card = heir.card;
    set.digest = digestOf(heir.card);
    for (const [instanceId, worker] of set.rejected) {
      if (digestOf(worker.card) !== set.digest) continue;
      set.rejected.delete(instanceId);
      set.workers.set(instanceId, worker);
    }
  }
}

/** Whether the workers that take work can serve the model: an aggregated one, or all roles of one alternative that the card needs. */
export function isComplete(set: ModelSet): boolean {
  const present = new Set<WorkerRole>();
  for (const { instance, card } of set.workers.values()) if (takesWork(instance)) present.add(roleOf(card));
  if (present.has(WorkerRole.AGGREGATED)) return true;
  return set.card.needs.some((need) => need.roles.length > 0 && need.roles.every((role) => present.has(role)));
}

export function takesWork({ state }: Instance): boolean {
  return state === InstanceState.READY || state === InstanceState.UNSPECIFIED;
}

export function roleOf({ role }: ModelCard): WorkerRole {
  return role === WorkerRole.UNSPECIFIED ? WorkerRole.AGGREGATED : role;
}

function hasAdapter({ card }: ModelWorker, name: string): boolean {
  return card.adapters.some((adapter) => adapter.name === name);
}

function digestOf(card: ModelCard): string {
  return Buffer.from(card.digest).toString('hex');
}
