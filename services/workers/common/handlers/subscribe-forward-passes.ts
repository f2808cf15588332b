import { type ContextOf, type EngineServiceImpl, unimplemented } from './handler.ts';

export function subscribeForwardPasses(contextOf: ContextOf): Pick<EngineServiceImpl, 'subscribeForwardPasses'> {
  return {
    async *subscribeForwardPasses(request, call) {
      const { models, closing } = contextOf();
      const host = models.find(request.model);
      if (host.card.capabilities?.forwardPasses !== true) throw unimplemented('SubscribeForwardPasses', host.card.name);
      const signal = AbortSignal.any([call.signal, closing]);
      const queue = host.passes.open();
      try {
        while (!signal.aborted) {
          if (queue.passes.length === 0) {
            await host.passes.pulse.wait(signal);
            continue;
          }
          const { passes, dropped } = queue;
          queue.passes = [];
          queue.dropped = 0;
          yield { passes, dropped: BigInt(dropped) };
        }
      } finally {
        host.passes.close(queue);
      }
    },
  };
}
