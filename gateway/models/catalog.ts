import { isComplete, type ModelSet, ModelSets, type ModelWorker } from '#core/models/model-sets.ts';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { currentCaller } from '../tenants/caller.ts';
import { mayUse } from '../tenants/tenants.ts';
import { closeNames } from './close-names.ts';

export type { ModelWorker };
export type ModelEntry = ModelSet;

/** What a name in a request stands for. */
export interface ResolvedModel {
  readonly entry: ModelEntry;
  /** Adapter that the name means; empty: none. */
  readonly adapter: string;
}

/** The models that workers promise, by the names that clients send. Pure bookkeeping: discovery feeds it. */
export class ModelCatalog {
  readonly #sets: ModelSets;

  /** `onRejected` is told of cards that differ from the set they would join. */
  constructor(onRejected: (instance: Instance, card: ModelCard) => void = () => {}) {
    this.#sets = new ModelSets(onRejected);
  }

  upsert(instance: Instance): void {
    this.#sets.upsert(instance);
  }

  remove(instanceId: bigint): void {
    this.#sets.remove(instanceId);
  }

  /** Every model of which a worker is known, ready or not. */
  entries(): readonly ModelEntry[] {
    return this.#sets.all();
  }

  /** Models that the caller can ask for now, by name. */
  ready(): readonly ModelEntry[] {
    return this.entries()
      .filter((entry) => isComplete(entry) && isShown(entry))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  isReady(entry: ModelEntry): boolean {
    return isComplete(entry);
  }

  /** The model of a name, alias or adapter, ready or not; null also for one that the caller may not use. */
  find(name: string): ResolvedModel | null {
    const found = this.#sets.find(name);
    if (found === undefined) return null;
    const { set: entry, adapter } = found;
    const isAllowed = adapter === '' ? isShown(entry) : mayUse(currentCaller(), [adapter, entry.name]);
    return isAllowed ? { entry, adapter } : null;
  }

  /** The model of a name, alias or adapter, ready or not; throws `model_not_found` with the nearest names. */
  known(name: string): ResolvedModel {
    const found = this.find(name);
    if (found === null) throw this.#notFound(name);
    return found;
  }

  /** The ready model of a name; throws `model_not_found` with the nearest names, or `not_ready`. */
  resolve(name: string): ResolvedModel {
    const found = this.known(name);
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
    return this.entries()
      .filter(isShown)
      .flatMap((entry) => [entry.name, ...entry.card.aliases, ...entry.card.adapters.map((adapter) => adapter.name)]);
  }
}

/** Whether the caller may know of a model. */
function isShown(entry: ModelEntry): boolean {
  return mayUse(currentCaller(), [entry.name, ...entry.card.aliases]);
}
