import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import type { Adapter, ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { EngineHost } from './host.ts';

/** The models of a worker by the names that requests use. */
export class WorkerModels {
  readonly hosts: readonly EngineHost[];
  readonly #deviceWeight: number;

  /** Throws StatorError `invalid_argument` when two models share a name. */
  constructor(hosts: readonly EngineHost[], deviceWeight: number) {
    this.hosts = hosts;
    this.#deviceWeight = deviceWeight;
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

  /** Cards with the adapters that are loaded now. */
  cards(): ModelCard[] {
    const deviceWeight = this.#deviceWeight;
    return this.hosts.map(({ card, engine }) => {
      const adapters = engine.listAdapters?.() ?? card.adapters;
      return { ...card, deviceWeight, adapters: [...adapters] };
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
