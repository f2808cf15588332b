import { StatorError } from '#lib/errors/errors.ts';
import { type ContextOf, type EngineServiceImpl, unimplemented } from './handler.ts';

export function releaseHandoff(contextOf: ContextOf): Pick<EngineServiceImpl, 'releaseHandoff'> {
  return {
    async releaseHandoff(request) {
      const { models } = contextOf();
      if (request.handoffId === '') throw StatorError.invalid('handoff_id', 'handoff_id is required');
      const able = models.hosts.filter(({ engine }) => engine.releaseHandoff !== undefined);
      const [first] = models.hosts;
      if (able.length === 0) throw unimplemented('ReleaseHandoff', first?.card.name ?? '');
      for (const { engine } of able) if (await engine.releaseHandoff?.(request.handoffId)) return { released: true };
      return { released: false };
    },
  };
}
