import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type KvBlockService, OpenNamespaceResponseSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvbmContext } from '../context.ts';
import { factsOf, namespaceNumber } from '../namespace-book.ts';
import { refusing } from '../refusals.ts';

export function openNamespace(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  const { holders, namespaces, manager, presence } = context;
  return {
    openNamespace({ holderId, spec }) {
      const holder = holders.acting(holderId);
      const known = namespaces.open(factsOf(spec, holder.layout));
      const namespace = refusing(() => namespaceNumber(manager, known, holder.layout));
      if (!holder.namespaces.has(namespace)) {
        // What happened until now is in the snapshot that the holder gets of it.
        presence.flush();
        holder.namespaces.add(namespace);
        for (const reader of holder.readers) reader.tell([namespace]);
      }
      return create(OpenNamespaceResponseSchema, { namespace });
    },
  };
}
