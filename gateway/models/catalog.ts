import { type Instance, InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { type ModelCard, WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { closeNames } from './close-names.ts';

/** A worker as one model sees it. */
export interface ModelWorker {
  readonly instance: Instance;
  readonly card: ModelCard;
}

/** A model: the workers whose cards agree, the first of them deciding what is promised. */
export interface ModelEntry {
  readonly name: string;
  readonly card: ModelCard;
  readonly workers: ReadonlyMap<bigint, ModelWorker>;
}

/** What a name in a request stands for. */
export interface ResolvedModel {
  readonly entry: ModelEntry;
  /** Adapter that the name means; empty: none. */
  readonly adapter: string;
}

interface MutableEntry {
  readonly name: string;
  card: ModelCard;
  digest: string;
  readonly workers: Map<bigint, ModelWorker>;
  /** Workers whose card has another digest; they take over when the last of the set is gone. */
  readonly rejected: Map<bigint, ModelWorker>;
}

function digestOf(card: ModelCard): string {
  return Buffer.from(card.digest).toString('hex');
}

function takesWork(instance: Instance): boolean {
  return instance.state === InstanceState.READY || instance.state === InstanceState.UNSPECIFIED;
}

function roleOf(card: ModelCard): WorkerRole {
  return card.role === WorkerRole.UNSPECIFIED ? WorkerRole.AGGREGATED : card.role;
}

/** Whether the roles that take work are enough for one of the sets that a card needs. */
function isComplete(entry: ModelEntry): boolean {
  const present = new Set<WorkerRole>();
  for (const worker of entry.workers.values()) if (takesWork(worker.instance)) present.add(roleOf(worker.card));
  if (present.has(WorkerRole.AGGREGATED)) return true;
  return entry.card.needs.some((need) => need.roles.length > 0 && need.roles.every((role) => present.has(role)));
}

/** The models that workers promise, from their registrations. Pure bookkeeping: discovery feeds it. */
export class ModelCatalog {
  readonly #entries = new Map<string, MutableEntry>();
  readonly #onRejected: (instance: Instance, card: ModelCard) => void;

  /** `onRejected` is told of cards that differ from the set they would join. */
  constructor(onRejected: (instance: Instance, card: ModelCard) => void = () => {}) {
    this.#onRejected = onRejected;
  }

  upsert(instance: Instance): void {
    const named = new Set(instance.cards.map((card) => card.name));
    for (const name of [...this.#entries.keys()]) if (!named.has(name)) this.#drop(name, instance.instanceId);
    for (const card of instance.cards) this.#join(instance, card);
  }

  remove(instanceId: bigint): void {
    for (const name of [...this.#entries.keys()]) this.#drop(name, instanceId);
  }

  /** Every model of which a worker is known, ready or not. */
  entries(): readonly ModelEntry[] {
    return [...this.#entries.values()];
  }

  /** Models that can be asked for now, by name. */
  ready(): readonly ModelEntry[] {
    return this.entries()
      .filter(isComplete)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  isReady(entry: ModelEntry): boolean {
    return isComplete(entry);
  }

  /** The model of a name, alias or adapter, ready or not. */
  find(name: string): ResolvedModel | null {
    const entry = this.#entries.get(name);
    if (entry !== undefined) return { entry, adapter: '' };
    for (const candidate of this.#entries.values()) {
      if (candidate.card.aliases.includes(name)) return { entry: candidate, adapter: '' };
    }
    for (const candidate of this.#entries.values()) {
      for (const worker of candidate.workers.values()) {
        if (worker.card.adapters.some((adapter) => adapter.name === name)) return { entry: candidate, adapter: name };
      }
    }
    return null;
  }

  /** The ready model of a name; throws `model_not_found` with the nearest names, or `not_ready`. */
  resolve(name: string): ResolvedModel {
    const found = this.find(name);
    if (found === null) throw this.#notFound(name);
    if (!isComplete(found.entry)) {
      throw new StatorError(
        'not_ready',
        `Model \`${found.entry.name}\` is not ready to serve requests yet. Retry shortly.`,
        {
          field: 'model',
          retryAfterMs: 1000,
        },
      );
    }
    return found;
  }

  #notFound(name: string): StatorError {
    const shown = name.length > 200 ? `${name.slice(0, 200)}…` : name;
    const close = closeNames(name, this.#names());
    const hint =
      close.length === 0 ? '' : ` Did you mean ${close.map((candidate) => `\`${candidate}\``).join(' or ')}?`;
    const facts = {
      available: this.ready()
        .map((entry) => entry.name)
        .slice(0, 20),
    };
    return new StatorError('model_not_found', `The model \`${shown}\` does not exist.${hint}`, {
      field: 'model',
      facts,
    });
  }

  #names(): string[] {
    return this.entries().flatMap((entry) => [
      entry.name,
      ...entry.card.aliases,
      ...entry.card.adapters.map((adapter) => adapter.name),
    ]);
  }

  #join(instance: Instance, card: ModelCard): void {
    const worker = { instance, card };
    const entry = this.#entries.get(card.name);
    if (entry === undefined) {
      const workers = new Map([[instance.instanceId, worker]]);
      this.#entries.set(card.name, { name: card.name, card, digest: digestOf(card), workers, rejected: new Map() });
      return;
    }
    if (entry.digest === digestOf(card)) {
      entry.rejected.delete(instance.instanceId);
      entry.workers.set(instance.instanceId, worker);
      entry.card = entry.workers.values().next().value?.card ?? card;
      return;
    }
    entry.workers.delete(instance.instanceId);
    const known = entry.rejected.has(instance.instanceId);
    entry.rejected.set(instance.instanceId, worker);
    if (!known) this.#onRejected(instance, card);
    this.#succeed(entry);
  }

  #drop(name: string, instanceId: bigint): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    entry.workers.delete(instanceId);
    entry.rejected.delete(instanceId);
    this.#succeed(entry);
  }

  /** Once a set is empty, the oldest of the rejected and all that agree with it become the set. */
  #succeed(entry: MutableEntry): void {
    const first = entry.workers.values().next().value;
    if (first !== undefined) {
      entry.card = first.card;
      return;
    }
    const heir = entry.rejected.values().next().value;
    if (heir === undefined) {
      this.#entries.delete(entry.name);
      return;
    }
    entry.card = heir.card;
    entry.digest = digestOf(heir.card);
    for (const [instanceId, worker] of entry.rejected) {
      if (digestOf(worker.card) !== entry.digest) continue;
      entry.rejected.delete(instanceId);
      entry.workers.set(instanceId, worker);
    }
  }
}
