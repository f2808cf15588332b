import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  type AttachRequest,
  type AttachResponse,
  AttachResponseSchema,
  type KvBlockService,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { KvbmContext } from '../context.ts';
import type { AttachedHolder } from '../holders.ts';
import { checkLayout } from '../layout.ts';
import type { PresenceReader } from '../presence.ts';
import { epochOffset } from '../slab-shape.ts';
import { wakened } from '../waiting.ts';

export function attach(context: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return { attach: (request, { signal }) => serveAttach(context, request, signal) };
}

async function* serveAttach(
  context: KvbmContext,
  request: AttachRequest,
  signal: AbortSignal,
): AsyncGenerator<AttachResponse> {
  const { layouts, holders, presence, stopping } = context;
  const { instanceId, name, lockFile } = request;
  if (name.length > 256) throw StatorError.invalid('name', 'A name has at most 256 characters.');
  const layout = yield* waitFor(layouts.ensure(checkLayout(request.layout)), context, signal);
  const holder = holders.attach({ instanceId, name, lockFile }, layout);
  const reader = request.events ? presence.read((namespace) => holder.namespaces.has(namespace)) : undefined;
  if (reader !== undefined) holder.readers.add(reader);
  try {
    yield welcome(context, holder);
    const ended = AbortSignal.any([signal, stopping, holder.replaced.signal]);
    yield* messages(context, holder, reader, ended);
  } finally {
    if (reader !== undefined) presence.leave(reader);
    holders.end(holder);
  }
  if (holder.replaced.signal.aborted)
    throw new StatorError('conflict', 'The worker attached anew under the same lock file.', { field: 'lock_file' });
}

/** Signs of life until it is there: pages of a large slab take their time. */
async function* waitFor<T>(
  wanted: Promise<T>,
  { config }: KvbmContext,
  signal: AbortSignal,
): AsyncGenerator<AttachResponse, T> {
  const settled = new AbortController();
  const end = (): void => settled.abort();
  wanted.then(end, end);
  const either = AbortSignal.any([settled.signal, signal]);
  for (;;) {
    await wakened(config.heartbeatMs, either);
    if (either.aborted) return wanted;
    yield heartbeat();
  }
}

function heartbeat(): AttachResponse {
  return create(AttachResponseSchema, { message: { case: 'heartbeat', value: {} } });
}

async function* messages(
  { config, log }: KvbmContext,
  holder: AttachedHolder,
  reader: PresenceReader | undefined,
  ended: AbortSignal,
): AsyncGenerator<AttachResponse> {
  log.info({ holder: holder.name, instance: holder.instanceId, layout: holder.layout.format }, 'worker attached');
  while (!ended.aborted) {
    if (reader === undefined) await wakened(config.heartbeatMs, ended);
    else await reader.ready(config.heartbeatMs, ended);
    if (ended.aborted) return;
    let told = false;
    for await (const value of reader?.take(() => holder.namespaces) ?? []) {
      told = true;
      yield create(AttachResponseSchema, { message: { case: 'events', value } });
    }
    if (!told) yield heartbeat();
  }
}

function welcome({ epoch, host, config }: KvbmContext, { id, layout }: AttachedHolder): AttachResponse {
  const { path, shape } = host.slabOf(layout.index);
  return create(AttachResponseSchema, {
    message: {
      case: 'welcome',
      value: {
        holderId: BigInt(id),
        epoch,
        slabFile: path,
        slabBytes: BigInt(shape.totalBytes),
        slots: shape.slots,
        generationsOffset: BigInt(shape.generationsOffset),
        payloadOffset: BigInt(host.slabOf(layout.index).payloadOffset(0)),
        slotStride: BigInt(shape.slotBytes),
        epochOffset: BigInt(epochOffset),
        heartbeatMs: config.heartbeatMs,
      },
    },
  });
}
