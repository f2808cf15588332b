import { type ContextOf, type EngineServiceImpl, unimplemented } from './handler.ts';

/** No engine classifies yet. */
export function classify(contextOf: ContextOf): Pick<EngineServiceImpl, 'classify'> {
  return {
    async classify(request) {
      throw unimplemented('Classify', contextOf().models.find(request.model).card.name);
    },
  };
}
