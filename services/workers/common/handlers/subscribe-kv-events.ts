import { type ContextOf, type EngineServiceImpl, unimplemented } from './handler.ts';

export function subscribeKvEvents(contextOf: ContextOf): Pick<EngineServiceImpl, 'subscribeKvEvents'> {
  return {
    async *subscribeKvEvents(request, call) {
      const { models, closing, config } = contextOf();
      const host = models.find(request.model);
      if (host.card.capabilities?.kvEvents !== true) throw unimplemented('SubscribeKvEvents', host.card.name);
      const signal = AbortSignal.any([call.signal, closing]);
      yield* host.kvEvents.subscribe(request, { signal, heartbeatMs: config.subscriptionHeartbeatMs });
    },
  };
}
