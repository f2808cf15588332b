import { StatorError } from '#lib/errors/errors.ts';
import { type ContextOf, type EngineServiceImpl, unimplemented } from './handler.ts';

/** Sleep and Wake concern the whole worker, so every engine must be able to. */
export function sleep(contextOf: ContextOf): Pick<EngineServiceImpl, 'sleep' | 'wake'> {
  return {
    async sleep(request) {
      const { models, state, drainer } = contextOf();
      const unable = models.hosts.find(({ engine }) => engine.sleep === undefined);
      if (unable !== undefined) throw unimplemented('Sleep', unable.card.name);
      const level = request.level === 0 ? 1 : request.level;
      if (level > 2) throw StatorError.invalid('level', 'level must be 1 or 2');
      if (drainer.remaining > 0)
        throw new StatorError('conflict', `${drainer.remaining} sequences run: abort them or wait before Sleep`);
      const announced = state.setAsleep(true);
      for (const { engine } of models.hosts) await engine.sleep?.(level);
      await announced;
      return {};
    },
    async wake() {
      const { models, state } = contextOf();
      const unable = models.hosts.find(({ engine }) => engine.wake === undefined);
      if (unable !== undefined) throw unimplemented('Wake', unable.card.name);
      for (const { engine } of models.hosts) await engine.wake?.();
      await state.setAsleep(false);
      return {};
    },
  };
}
