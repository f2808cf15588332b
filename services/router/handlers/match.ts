import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { hashCount, packHashes } from '#core/tokens/packed-hashes.ts';
import {
  type KvIndexService,
  MatchedWorkerSchema,
  type MatchRequest,
  type MatchResponse,
  MatchResponseSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import type { RouterContext } from '../context.ts';
import { blocksOf, sharedCache } from '../shared-cache.ts';

export function match(context: RouterContext): Partial<ServiceImpl<typeof KvIndexService>> {
  return { match: (request) => matchBlocks(context, request) };
}

/** Who has how much of a prompt, by what the events of workers say. */
export function matchBlocks(context: RouterContext, request: MatchRequest): MatchResponse {
  const { model } = request;
  const { blocks } = context;
  const { index, following } = blocks;
  const kvBlockSize = servedBlockSize(context, model);
  const hashes = hashesOf(request, kvBlockSize);
  // Before the lookup, which counts too.
  const blockHits = [...blocks.hitsOf(hashes)];
  const { overlaps } = following.slots;
  index.match(hashes, overlaps);
  const matched = [];
  let sharedBlocks = 0;
  for (const { source, slot } of following.slots.published(model)) {
    const found = {
      deviceBlocks: overlaps.device[slot] ?? 0,
      hostBlocks: overlaps.host[slot] ?? 0,
      diskBlocks: overlaps.disk[slot] ?? 0,
      externalBlocks: overlaps.external[slot] ?? 0,
    };
    if (blocksOf(found) === 0) continue;
    const { instanceId, dataParallelRank } = source;
    if (instanceId === sharedCache) {
      sharedBlocks = blocksOf(found);
      continue;
    }
    matched.push(create(MatchedWorkerSchema, { instanceId, dataParallelRank, ...found }));
  }
  const promptBlocks = hashCount(hashes);
  return create(MatchResponseSchema, { workers: matched, promptBlocks, kvBlockSize, sharedBlocks, blockHits });
}

/** Tokens in a block of the model; throws `model_not_found` where nobody has told. */
export function servedBlockSize({ blocks }: Pick<RouterContext, 'blocks'>, model: string): number {
  const blockSize = blocks.blockSizeOf(model);
  if (blockSize !== undefined) return blockSize;
  throw new StatorError('model_not_found', `No worker serves the model \`${model}\`.`, { field: 'model' });
}

function hashesOf({ sequenceHashes, tokenIds, adapter, cacheSalt }: MatchRequest, blockSize: number): Uint8Array {
  if (sequenceHashes.length % 8 !== 0) throw StatorError.invalid('sequence_hashes', 'Expected 8 bytes for each hash.');
  if (sequenceHashes.length > 0 || tokenIds.length === 0) return sequenceHashes;
  if (blockSize < 1) throw StatorError.invalid('token_ids', 'The model has no block size to hash tokens by.');
  return packHashes(hashBlocks(Uint32Array.from(tokenIds), blockSize, { adapter, cacheSalt }).sequenceHashes);
}
