import { StatorError } from '#lib/errors/errors.ts';
import { type ContextOf, type EngineServiceImpl, unimplemented } from './handler.ts';

/** Adapters come and go while the worker runs; its registration follows. */
export function adapters(
  contextOf: ContextOf,
): Pick<EngineServiceImpl, 'loadAdapter' | 'unloadAdapter' | 'listAdapters'> {
  return {
    async loadAdapter(request) {
      const { models, state } = contextOf();
      const host = models.find(request.model);
      const { engine } = host;
      if (engine.loadAdapter === undefined) throw unimplemented('LoadAdapter', host.card.name);
      const { adapter } = request;
      if (adapter === undefined || adapter.name === '')
        throw StatorError.invalid('adapter.name', 'adapter.name is required');
      const taken = models.hosts.some(({ card }) => card.name === adapter.name || card.aliases.includes(adapter.name));
      if (taken)
        throw new StatorError('conflict', `a model is called ${adapter.name} already`, { field: 'adapter.name' });
      const { alreadyLoaded } = await engine.loadAdapter(adapter);
      await state.publish();
      return { alreadyLoaded };
    },
    async unloadAdapter(request) {
      const { models, state } = contextOf();
      const host = models.find(request.model);
      const { engine } = host;
      if (engine.unloadAdapter === undefined) throw unimplemented('UnloadAdapter', host.card.name);
      if (request.name === '') throw StatorError.invalid('name', 'name is required');
      await engine.unloadAdapter(request.name);
      await state.publish();
      return {};
    },
    async listAdapters(request) {
      const { models } = contextOf();
      const hosts = request.model === '' ? models.hosts : [models.find(request.model)];
      const [only] = hosts;
      if (only !== undefined && hosts.every(({ engine }) => engine.listAdapters === undefined))
        throw unimplemented('ListAdapters', only.card.name);
      return { adapters: hosts.flatMap(({ engine }) => [...(engine.listAdapters?.() ?? [])]) };
    },
  };
}
