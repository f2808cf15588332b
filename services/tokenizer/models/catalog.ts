import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';

/** A model as one set of equal cards: the same digest on every worker. */
export interface CatalogModel {
  readonly name: string;
  readonly card: ModelCard;
  /** The workers that serve it, in the order they came. */
  readonly workers: ReadonlyMap<bigint, Instance>;
}

interface CardSet {
  readonly digest: string;
  card: ModelCard;
  readonly workers: Map<bigint, Instance>;
}

/** The same model name with other content, for logs. */
export interface Conflict {
  readonly name: string;
  readonly instance: Instance;
}

/**
 * The models that workers announce. Cards of one name but different digests never mix: the digest that came first holds
 * the name until its last worker is gone.
 */
export class Catalog {
  readonly #sets = new Map<string, CardSet[]>();
  readonly #onConflict: (conflict: Conflict) => void;

  constructor(o: { onConflict: (conflict: Conflict) => void }) {
    this.#onConflict = o.onConflict;
  }

  /** Number of models, aliases not counted. */
  get size(): number {
    return this.#sets.size;
  }

  /** The model of a name, an alias or an adapter's name. */
  find(name: string): CatalogModel | null {
    const named = this.#sets.get(name)?.[0];
    if (named !== undefined) return modelOf(named);
    for (const [set] of this.#sets.values()) {
      if (set === undefined) continue;
      if (set.card.aliases.includes(name) || set.card.adapters.some((adapter) => adapter.name === name)) {
        return modelOf(set);
      }
    }
    return null;
  }

  models(): CatalogModel[] {
    return [...this.#sets.values()].flatMap(([set]) => (set === undefined ? [] : [modelOf(set)]));
  }

  up(instance: Instance): void {
    for (const card of instance.cards) this.#add(card, instance);
  }

  change(instance: Instance): void {
    const digests = new Map(instance.cards.map((card) => [card.name, digestOf(card)]));
    for (const [name, sets] of this.#sets) {
      for (const set of sets) if (digests.get(name) !== set.digest) set.workers.delete(instance.instanceId);
    }
    this.#sweep();
    this.up(instance);
  }

  down(instance: Instance): void {
    for (const sets of this.#sets.values()) for (const set of sets) set.workers.delete(instance.instanceId);
    this.#sweep();
  }

  #add(card: ModelCard, instance: Instance): void {
    const digest = digestOf(card);
    const sets = this.#sets.get(card.name) ?? [];
    this.#sets.set(card.name, sets);
    let set = sets.find((candidate) => candidate.digest === digest);
    if (set === undefined) {
      set = { digest, card, workers: new Map() };
      sets.push(set);
    }
    const known = set.workers.has(instance.instanceId);
    set.workers.set(instance.instanceId, instance);
    // Adapters may have changed, which the digest does not cover.
    set.card = card;
    if (!known && sets[0] !== set) this.#onConflict({ name: card.name, instance });
  }

  #sweep(): void {
    for (const [name, sets] of this.#sets) {
      const left = sets.filter((set) => set.workers.size > 0);
      if (left.length === 0) this.#sets.delete(name);
      else if (left.length < sets.length) this.#sets.set(name, left);
    }
  }
}

function modelOf(set: CardSet): CatalogModel {
  return { name: set.card.name, card: set.card, workers: set.workers };
}

function digestOf(card: ModelCard): string {
  return Buffer.from(card.digest).toString('hex');
}
