import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { type RouterService, UpsertWorkerResponseSchema } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { parseAddress } from '#lib/rpc/address.ts';
import type { RouterContext } from '../context.ts';

export function upsertWorker({ workers }: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    upsertWorker({ worker }) {
      workers.upsert(checkedWorker(worker));
      return create(UpsertWorkerResponseSchema, {});
    },
  };
}

/** A registration that somebody else wrote: everything that the router relies on is checked. */
export function checkedWorker(worker: Instance | undefined): Instance {
  if (worker === undefined) throw StatorError.invalid('worker', 'The registration of the worker is missing.');
  if (worker.instanceId === 0n)
    throw StatorError.invalid('worker.instance_id', 'An identifier other than 0 is needed.');
  if (worker.kind !== ServiceKind.WORKER) throw StatorError.invalid('worker.kind', 'SERVICE_KIND_WORKER is expected.');
  if (worker.address !== '') parseAddress(worker.address, 'worker.address');
  if (worker.cards.length === 0) throw StatorError.invalid('worker.cards', 'A worker serves at least one model.');
  for (const [index, card] of worker.cards.entries()) {
    if (card.name === '') throw StatorError.invalid(`worker.cards[${index}].name`, 'A model needs a name.');
  }
  return worker;
}
