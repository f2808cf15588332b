import type { ServiceImpl } from '@connectrpc/connect';
import type { KvEventFrames } from '#lib/rpc/kv-event-frames.ts';
import { type ContextOf, unimplemented } from './handler.ts';

export function subscribeKvEvents(contextOf: ContextOf): ServiceImpl<typeof KvEventFrames> {
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
