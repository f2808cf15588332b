// KvPeerService: what this node tells and lends others.
import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import type { Lease } from '#core/blocks/reading.ts';
import { headerBytes } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import {
  BlockTier,
  type FindBlocksRequest,
  FindBlocksResponseSchema,
  type KvPeerService,
  ReleaseBlocksResponseSchema,
  type StageBlocksRequest,
  type StageBlocksResponse,
  StageBlocksResponseSchema,
  SummarizeBlocksResponseSchema,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { encodeDescriptors } from '#lib/transfer/descriptors.ts';
import { checkLayout, fingerprintOf, type Layout } from '../layout.ts';
import { namespaceNumber } from '../namespace-book.ts';
import type { BlockSource, TierParts } from '../tiers.ts';
import { fromDisk } from './from-disk.ts';
import type { Lending } from './lending.ts';
import type { Stage, Stages } from './stages.ts';
import type { OwnSummary } from './summary.ts';

const maxBlocks = 65_536;
const digestBytes = 16;

export interface ServedOptions {
  readonly parts: TierParts;
  readonly lending: Lending;
  readonly stages: Stages;
  readonly summary: OwnSummary;
  /** Where blocks on disk are loaded from; undefined: they are not lent. */
  readonly disk: () => BlockSource | undefined;
  readonly maxStageMs: number;
  readonly wallMs: () => number;
}

/** Blocks of a namespace, as a peer names them and this node knows them. */
interface Wanted {
  readonly layout: Layout;
  readonly namespace: number;
  readonly digests: Uint32Array;
  readonly count: number;
}

/** The implementation of the contract. */
export function servePeers(options: ServedOptions): ServiceImpl<typeof KvPeerService> {
  return {
    summarizeBlocks: async ({ version }) => {
      const { filter, version: now, probes, blocks } = await options.summary.get();
      return create(SummarizeBlocksResponseSchema, {
        version: now,
        filter: now === version ? new Uint8Array(0) : filter,
        probes,
        blocks: BigInt(blocks),
      });
    },
    findBlocks: async (request) => create(FindBlocksResponseSchema, { tiers: find(options, request) }),
    stageBlocks: (request, { signal }) => stage(options, request, signal),
    releaseBlocks: async ({ stageId }) =>
      create(ReleaseBlocksResponseSchema, { released: options.stages.end(stageId, 'released') }),
  };
}

/** Tiers of the leading blocks, as far as another node may have them from here. */
function find(options: ServedOptions, request: FindBlocksRequest): Uint8Array {
  const wanted = wantedOf(options.parts, request);
  if (wanted === undefined) return new Uint8Array(0);
  const lends = (tier: number): boolean => tier === tiers.host || (tier === tiers.disk && options.disk() !== undefined);
  const found = options.parts.manager.scan(wanted.namespace, wanted.digests);
  const end = found.findIndex((tier) => !lends(tier));
  return found
    .subarray(0, end === -1 ? found.length : end)
    .map((tier) => (tier === tiers.host ? BlockTier.HOST : BlockTier.DISK));
}

async function stage(
  options: ServedOptions,
  request: StageBlocksRequest,
  signal: AbortSignal,
): Promise<StageBlocksResponse> {
  const { parts, stages, maxStageMs } = options;
  const wanted = wantedOf(parts, request);
  if (wanted === undefined) return create(StageBlocksResponseSchema, {});
  const count = Math.min(wanted.count, stages.room(wanted.layout.blockBytes));
  if (count < 1) throw new StatorError('overloaded', 'Too much is kept for other nodes already.');
  const timeoutMs = Math.min(request.timeoutMs === 0 ? maxStageMs : request.timeoutMs, maxStageMs);
  const open = stages.begin(count * wanted.layout.blockBytes);
  try {
    const pinned = await gather(
      options,
      { ...wanted, count },
      open,
      AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    );
    if (!open.isOpen || signal.aborted) throw new StatorError('cancelled', 'Nobody waits for the stage any more.');
    if (pinned.slots.length === 0) {
      stages.end(open.id, 'released');
      return create(StageBlocksResponseSchema, {});
    }
    stages.expire(open, timeoutMs);
    return create(StageBlocksResponseSchema, {
      stageId: open.id,
      ...(await offer(options, wanted.layout, pinned)),
      deadlineUnixMs: BigInt(options.wallMs() + timeoutMs),
    });
  } catch (error) {
    stages.end(open.id, 'failed');
    throw error;
  }
}

interface Pinned {
  readonly slots: number[];
  readonly sizes: number[];
}

/** Pins the leading blocks, those on disk after they were loaded, to the first that cannot be had. */
async function gather(options: ServedOptions, wanted: Wanted, open: Stage, signal: AbortSignal): Promise<Pinned> {
  const { parts, stages } = options;
  const { namespace, digests, count } = wanted;
  const pinned: Pinned = { slots: [], sizes: [] };
  const take = async (lease: Lease | undefined, from: number): Promise<boolean> => {
    const inOrder = lease?.blocks.every((block, at) => block === from + at) ?? false;
    if (lease === undefined || !inOrder || lease.slots.length === 0) return false;
    const sound = await parts.host.verified(lease, namespace, digests);
    pinned.slots.push(...lease.slots.subarray(0, sound));
    pinned.sizes.push(...lease.sizes.subarray(0, sound));
    return sound === lease.slots.length;
  };
  while (pinned.slots.length < count && !signal.aborted && open.isOpen) {
    const from = pinned.slots.length;
    const tier = parts.manager.scan(namespace, digests.subarray(4 * from, 4 * count));
    const run = tier.findIndex((each) => each !== tier[0]);
    const end = from + (run === -1 ? tier.length : run);
    if (tier[0] === tiers.host) {
      const lease = stages.pin(open, namespace, digests, range(from, end));
      if (!(await take(lease, from))) break;
      continue;
    }
    const disk = tier[0] === tiers.disk ? options.disk() : undefined;
    if (disk === undefined) break;
    const leases: { lease: Lease | undefined; from: number }[] = [];
    const loaded = (first: number, blocks: number): void => {
      leases.push({ lease: stages.pin(open, namespace, digests, range(first, first + blocks)), from: first });
    };
    await fromDisk(parts, disk, { ...wanted, from, end, signal, loaded });
    let sound = leases.length > 0;
    for (const each of leases) sound = sound && (await take(each.lease, each.from));
    if (!sound) break;
  }
  return pinned;
}

async function offer({ parts, lending }: ServedOptions, layout: Layout, { slots, sizes }: Pinned) {
  const slab = parts.host.slabOf(layout.index);
  const records = Buffer.alloc(slots.length * headerBytes);
  for (const [at, slot] of slots.entries()) slab.slot(slot).copy(records, at * headerBytes, 0, headerBytes);
  const lent = await lending.of(layout.index);
  const offers = lent.map(async ({ agent, region }) => ({
    backend: agent.backend,
    agentMetadata: await agent.metadata(),
    descriptors: encodeDescriptors(
      slots.map((slot, at) => ({ region: region.ref, offset: slab.payloadOffset(slot), bytes: sizes[at] ?? 0 })),
    ),
  }));
  return { blocks: slots.length, records, offers: await Promise.all(offers) };
}

/** Checks a request; undefined when this node can have no such blocks. Throws StatorError `invalid_argument`. */
function wantedOf(parts: TierParts, request: FindBlocksRequest | StageBlocksRequest): Wanted | undefined {
  const { layout: shape, namespaceDigest, digests } = request;
  const fingerprint = fingerprintOf(checkLayout(shape));
  if (namespaceDigest.length !== digestBytes)
    throw StatorError.invalid('namespace_digest', `A digest has ${digestBytes} bytes, not ${namespaceDigest.length}.`);
  const count = digests.length / digestBytes;
  if (!Number.isInteger(count) || count < 1 || count > maxBlocks)
    throw StatorError.invalid('digests', `${digests.length} bytes are no column of 1 to ${maxBlocks} digests.`);
  const layout = parts.host.layouts().find((each) => each.fingerprint === fingerprint);
  const known = parts.namespaces.find(Buffer.from(namespaceDigest).toString('hex'));
  if (layout === undefined || known === undefined || known.layout !== fingerprint) return undefined;
  const words = new Uint32Array(Uint8Array.from(digests).buffer);
  return { layout, namespace: namespaceNumber(parts.manager, known, layout), digests: words, count };
}

function* range(from: number, end: number): Generator<number> {
  for (let at = from; at < end; at++) yield at;
}
