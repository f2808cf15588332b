import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import type { Adapter, ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import type { SettingsOf } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { EngineHost } from './host.ts';
import { placedCard, type placeSettings } from './place.ts';

type CardConfig = SettingsOf<typeof placeSettings> & { readonly deviceWeight: number };

/** The models of a worker by the names that requests use. */
export class WorkerModels {
  readonly hosts: readonly EngineHost[];
  readonly #config: CardConfig;

  /** Throws StatorError `invalid_argument` when two models share a name. */
  constructor(hosts: readonly EngineHost[], config: CardConfig) {
    this.hosts = hosts;
    this.#config = config;
  }

  /** Called once every card is known. */
  checkNames(): void {
    const seen = new Set<string>();
    for (const { card } of this.hosts) {
      for (const name of [card.name, ...card.aliases]) {
        if (seen.has(name)) throw StatorError.invalid('model', `two models of this worker are called ${name}`);
        seen.add(name);
      }
    }
  }

  /** Cards with the adapters that are loaded now, and with what the worker's settings add. */
  cards(): ModelCard[] {
    const { deviceWeight } = this.#config;
    return this.hosts.map(({ card, engine }) => {
      const adapters = engine.listAdapters?.() ?? card.adapters;
      return placedCard({ ...card, deviceWeight, adapters: [...adapters] }, this.#config);
    });
  }

  /** The model of a name or alias; an empty name is the only model. */
  find(name: string): EngineHost {
    const [only, second] = this.hosts;
    if (name === '') {
      if (only !== undefined && second === undefined) return only;
      throw StatorError.invalid('model', `model must be one of ${this.#names()}`);
    }
    const host = this.hosts.find(({ card }) => card.name === name || card.aliases.includes(name));
    if (host !== undefined) return host;
    const message = `this worker does not serve ${name.slice(0, 200)}, but ${this.#names()}`;
    throw new StatorError('model_not_found', message, { field: 'model' });
  }

  /** The model that a request means. Where its model names an adapter, its adapter is set. */
  resolve(request: GenerateRequest): EngineHost {
    const host = this.#byAdapter(request) ?? this.find(request.model);
    if (request.adapter !== '' && !adaptersOf(host).some((adapter) => adapter.name === request.adapter))
      throw StatorError.notFound(`adapter ${request.adapter.slice(0, 200)} is not loaded`, { field: 'adapter' });
    return host;
  }

  #byAdapter(request: GenerateRequest): EngineHost | undefined {
    if (request.model === '' || this.hosts.some(({ card }) => card.name === request.model)) return undefined;
    const host = this.hosts.find((candidate) =>
      adaptersOf(candidate).some((adapter) => adapter.name === request.model),
    );
    if (host !== undefined && request.adapter === '') request.adapter = request.model;
    return host;
  }

  #names(): string {
    return this.hosts.map(({ card }) => card.name).join(', ');
  }
}

function adaptersOf({ engine, card }: EngineHost): readonly Adapter[] {
  return engine.listAdapters?.() ?? card.adapters;
}
