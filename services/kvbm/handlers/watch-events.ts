import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  type KvBlockService,
  type WatchEventsResponse,
  WatchEventsResponseSchema,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { KvbmContext } from '../context.ts';

export function watchEvents(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  let watchers = 0;
  return {
    async *watchEvents({ model }, { signal }) {
      const { maxWatchers } = context.config;
      if (watchers >= maxWatchers)
        throw new StatorError('overloaded', `${maxWatchers} streams follow events; more need --max-watchers.`);
      watchers++;
      try {
        yield* watch(context, model, AbortSignal.any([signal, context.stopping]));
      } finally {
        watchers--;
      }
    },
  };
}

async function* watch(
  { manager, presence, config }: KvbmContext,
  model: string,
  signal: AbortSignal,
): AsyncGenerator<WatchEventsResponse> {
  const modelOf = (namespace: number): string => manager.namespaceAt(namespace).model;
  const wants = (namespace: number): boolean => model === '' || modelOf(namespace) === model;
  const reader = presence.read(wants);
  reader.overflow();
  const told = new Set<number>();
  try {
    while (!signal.aborted) {
      await reader.ready(config.heartbeatMs, signal);
      for await (const events of reader.take(() => Array(manager.namespaces).keys())) {
        const { namespace } = events;
        // One that came into being after the snapshot had nothing before.
        events.restart ||= !told.has(namespace);
        told.add(namespace);
        yield create(WatchEventsResponseSchema, { events, model: modelOf(namespace) });
      }
    }
  } finally {
    presence.leave(reader);
  }
}
