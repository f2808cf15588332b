import type { ContextOf, EngineServiceImpl } from './handler.ts';

export function clearCache(contextOf: ContextOf): Pick<EngineServiceImpl, 'clearCache'> {
  return {
    async clearCache(request) {
      const { models } = contextOf();
      const hosts = request.model === '' ? models.hosts : [models.find(request.model)];
      let blocks = 0;
      for (const { engine } of hosts) blocks += await engine.clearCache();
      return { blocks: BigInt(blocks) };
    },
  };
}
