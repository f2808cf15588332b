// One load from one node: reserve here, stage there, read, compare, register, release.
import { decodeHeader, headerBytes } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { Reservation } from '#core/blocks/writing.ts';
import type { BlockOffer, StageBlocksResponse } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { decodeDescriptors } from '#lib/transfer/descriptors.ts';
import type { Peer, Piece } from '#lib/transfer/transfer.ts';
import { partOf } from '../chain.ts';
import { expectedOf } from '../records.ts';
import type { LoadRequest, TierParts } from '../tiers.ts';
import type { Lending } from './lending.ts';
import type { PeerMetrics } from './metrics.ts';
import type { PeerNode } from './node.ts';

export interface PullOptions {
  readonly parts: TierParts;
  readonly lending: Lending;
  readonly bulk: Pick<BulkMemory, 'checksums'>;
  readonly metrics: PeerMetrics;
}

/** A block that the other node has staged, with what it must be. */
interface Arriving {
  readonly slot: number;
  readonly generation: number;
  readonly bytes: number;
  readonly checksum: bigint;
}

export interface Pulled {
  /** Leading blocks that are in host memory now. */
  readonly blocks: number;
  readonly bytes: number;
  readonly backend: string;
}

/**
 * Loads blocks from a node; `loaded` of the request has been called when it resolves. Slots that could not be filled are given
 * back once nothing can write into them any more. Throws BlockError `arena_full` and StatorErrors.
 */
export async function pullBlocks(
  options: PullOptions,
  node: PeerNode,
  request: LoadRequest,
  timeoutMs: number,
): Promise<Pulled> {
  const { parts } = options;
  const holder = parts.manager.attach();
  let backend: Peer['backend'] | undefined;
  try {
    const part = { ...partOf(request.chain, request.from, request.count) };
    const reservation = parts.host.reserve(holder, part, request.priority);
    const wanted = part.digests;
    if (reservation.slots.length === 0) return { blocks: report(options, request, wanted), bytes: 0, backend: 'none' };
    const stage = await askStage(options, node, request, reservation, timeoutMs);
    try {
      const arriving = accept(options, request, reservation, stage);
      const peer = await node.connect(stage.offers, timeoutMs);
      backend = peer.backend;
      const sound = await transfer(options, request, peer, arriving, stage.offers, timeoutMs);
      commit(options, holder, reservation, sound);
      const bytes = sound.reduce((sum, block) => sum + block.bytes, 0);
      return { blocks: report(options, request, wanted), bytes, backend };
    } finally {
      if (stage.stageId !== '') node.client.releaseBlocks({ stageId: stage.stageId }).catch(() => {});
    }
  } finally {
    await giveBack(options, holder, backend);
  }
}

function askStage(
  { parts }: PullOptions,
  node: PeerNode,
  { layout, chain, from, signal }: LoadRequest,
  { blocks }: Reservation,
  timeoutMs: number,
): Promise<StageBlocksResponse> {
  const digests = Buffer.alloc(16 * blocks.length);
  for (const [at, block] of blocks.entries())
    for (let word = 0; word < 4; word++)
      digests.writeUInt32LE(chain.digests[4 * (from + block) + word] ?? 0, 16 * at + 4 * word);
  const { format, blockBytes, blockTokens, dtype } = layout;
  const request = {
    layout: { format, blockBytes: BigInt(blockBytes), blockTokens, dtype },
    namespaceDigest: Buffer.from(parts.manager.namespaceAt(chain.namespace).digest, 'hex'),
    digests,
    timeoutMs,
  };
  return node.client.stageBlocks(request, { signal, timeoutMs });
}

/** Leading staged blocks whose records say that they are the ones that were asked for. */
function accept(
  options: PullOptions,
  request: LoadRequest,
  reservation: Reservation,
  stage: StageBlocksResponse,
): Arriving[] {
  const { parts, metrics } = options;
  const { chain, layout, from } = request;
  const namespace = parts.namespaces.find(parts.manager.namespaceAt(chain.namespace).digest);
  if (namespace === undefined) throw new StatorError('internal', 'The namespace of the blocks is not in the book.');
  const accepted: Arriving[] = [];
  const count = Math.min(stage.blocks, reservation.blocks.length, Math.floor(stage.records.length / headerBytes));
  for (let at = 0; at < count; at++) {
    const block = from + (reservation.blocks[at] ?? 0);
    const expected = {
      ...expectedOf(namespace, layout, chain.digests.subarray(4 * block, 4 * block + 4)),
      sequenceHash: chain.sequenceHashes[block] ?? 0n,
    };
    const record = stage.records.subarray(at * headerBytes, (at + 1) * headerBytes);
    const { header, rejection } = decodeHeader(record, expected, parts.hash64);
    const isWhole = header !== undefined && !header.isEncrypted && header.payloadBytes <= layout.blockBytes;
    if (!isWhole || header.position !== chain.startBlock + block) {
      metrics.rejected.inc({ reason: rejection ?? 'inconsistent' });
      break;
    }
    accepted.push({
      slot: reservation.slots[at] ?? 0,
      generation: reservation.generations[at] ?? 0,
      bytes: header.payloadBytes,
      checksum: header.payloadChecksum,
    });
  }
  return accepted;
}

/** Reads blocks into their slots; returns the leading ones whose bytes are right. */
async function transfer(
  options: PullOptions,
  { layout, signal }: LoadRequest,
  peer: Peer,
  arriving: readonly Arriving[],
  offers: readonly BlockOffer[],
  timeoutMs: number,
): Promise<readonly Arriving[]> {
  const { parts, lending, bulk, metrics } = options;
  if (arriving.length === 0) return [];
  const local = await lending.region(layout.index, peer.backend);
  const descriptors = decodeDescriptors(
    offers.find(({ backend }) => backend === peer.backend)?.descriptors ?? new Uint8Array(0),
  );
  if (local === undefined || descriptors.length < arriving.length)
    throw new StatorError('backend_protocol', 'The node does not say where its blocks are.');
  const slab = parts.host.slabOf(layout.index);
  const pieces: Piece[] = [];
  const ranges: { offset: number; bytes: number }[] = [];
  for (const [at, { slot, bytes }] of arriving.entries()) {
    const there = descriptors[at];
    if (there?.bytes !== bytes)
      throw new StatorError('backend_protocol', `Block ${at} has another size than its record says.`);
    const offset = slab.payloadOffset(slot);
    ranges.push({ offset, bytes });
    pieces.push({ local, localOffset: offset, remote: there.region, remoteOffset: there.offset, bytes });
  }
  await peer.pull(pieces, { timeoutMs, signal });
  const found = await bulk.checksums(slab.memory.buffer, ranges);
  const wrong = arriving.findIndex(({ checksum }, at) => found[at] !== checksum);
  if (wrong === -1) return arriving;
  metrics.rejected.inc({ reason: 'payload_checksum' });
  return arriving.slice(0, wrong);
}

function commit({ parts }: PullOptions, holder: number, reservation: Reservation, sound: readonly Arriving[]): void {
  if (sound.length === 0) return;
  const checksums = new Uint32Array(2 * sound.length);
  for (const [at, { checksum }] of sound.entries()) {
    checksums[2 * at] = Number(checksum & 0xffff_ffffn);
    checksums[2 * at + 1] = Number(checksum >> 32n);
  }
  parts.host.commit(holder, {
    arena: reservation.arena,
    epoch: reservation.epoch,
    slots: Uint32Array.from(sound, ({ slot }) => slot),
    generations: Uint32Array.from(sound, ({ generation }) => generation),
    checksums,
    sizes: Uint32Array.from(sound, ({ bytes }) => bytes),
  });
}

/** Tells how many leading blocks are in host memory, in the turn in which they came there. */
function report({ parts }: PullOptions, { chain, from, count, loaded }: LoadRequest, digests: Uint32Array): number {
  let there = 0;
  while (there < count && parts.manager.slotOf(tiers.host, chain.namespace, digests, there) >= 0) there++;
  if (there > 0) loaded(from, there);
  return there;
}

/** NIXL may still write after it gave up: until it does not, slots are nobody's. */
async function giveBack(
  { parts, lending }: PullOptions,
  holder: number,
  backend: Peer['backend'] | undefined,
): Promise<void> {
  const agent = lending.agents.find((each) => each.backend === backend);
  if (backend !== 'nixl' || agent === undefined || parts.manager.writing(holder) === 0) {
    parts.manager.detach(holder, true);
    return;
  }
  parts.manager.detach(holder, false);
  agent.quiet().then(
    () => parts.manager.detach(holder, true),
    () => parts.log.warn('slots that NIXL was writing into stay out of use'),
  );
}
