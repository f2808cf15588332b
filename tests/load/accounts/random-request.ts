import { create } from '@bufbuild/protobuf';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { type RouteRequest, RouteRequestSchema, RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import type { RandomChoices } from './random.ts';

export const MODEL = 'm';
export const BLOCK = 16;

const modes = [RouterMode.UNSPECIFIED, RouterMode.UNSPECIFIED, RouterMode.KV, RouterMode.LEAST_LOADED];
const otherModes = [RouterMode.ROUND_ROBIN, RouterMode.RANDOM, RouterMode.POWER_OF_TWO, RouterMode.TOKEN_BALANCE];

/** A request as clients of every kind make them: mostly ordinary, with shared prefixes, some that cannot be served. */
export function randomRequest(random: RandomChoices, requestId: string, workers: readonly bigint[]): RouteRequest {
  const blocks = random.below(60);
  const request = create(RouteRequestSchema, {
    requestId,
    model: random.oneIn(500) ? 'unknown' : MODEL,
    promptTokens: blocks * BLOCK + random.below(BLOCK),
    sequenceHashes: randomHashes(random, blocks),
    kvBlockSize: random.oneIn(100) ? 2 * BLOCK : BLOCK,
    mode: random.oneIn(4) ? random.pick(otherModes) : random.pick(modes),
    sequences: 1 + random.below(3),
    explain: random.oneIn(50),
    priority: random.oneIn(5) ? random.below(10) : 0,
    strictPriority: random.oneIn(20) ? random.below(4) : 0,
    policyClass: random.pick(['', '', '', 'batch', 'no-such-class']),
    sessionId: random.oneIn(3) ? `s${random.below(40)}` : '',
    adapter: random.oneIn(300) ? 'poet' : '',
    queueTimeoutMs: random.oneIn(5) ? 1 + random.below(30) : 0,
  });
  if (random.oneIn(4)) request.expectedOutputTokens = random.below(500);
  if (random.oneIn(20)) request.arrivalUnixMs = BigInt(Date.now() - random.below(5000));
  if (random.oneIn(20)) request.deadlineUnixMs = BigInt(Date.now() + random.below(60) - 20);
  if (random.oneIn(10)) constrain(request, random, workers);
  if (random.oneIn(30)) override(request, random);
  return request;
}

/** Hashes of a prompt that shares its beginning with others of one of a few families. */
function randomHashes(random: RandomChoices, blocks: number): Uint8Array {
  const family = BigInt(random.below(12));
  const shared = random.below(blocks + 1);
  const tail = BigInt(random.below(2 ** 31));
  const hashes = BigUint64Array.from({ length: blocks }, (_, index) =>
    index < shared ? (family << 32n) | BigInt(index + 1) : (1n << 63n) | (tail << 16n) | BigInt(index),
  );
  return packHashes(hashes);
}

function constrain(request: RouteRequest, random: RandomChoices, workers: readonly bigint[]): void {
  const kind = random.below(5);
  request.constraints = create(RouteRequestSchema, {
    constraints: {
      ...(kind === 0 ? { instanceId: random.pick(workers) } : {}),
      ...(kind === 1 ? { dataParallelRank: random.below(3) } : {}),
      allowedInstanceIds: kind === 2 ? [random.pick(workers), random.pick(workers)] : [],
      excludedInstanceIds: random.oneIn(2) ? [random.pick(workers)] : [],
      requiredTaints: kind === 3 ? [random.pick(['zone=a', 'zone=b', 'zone=nowhere'])] : [],
      preferredTaints: kind === 4 ? { 'zone=a': 1.5, 'zone=b': -0.5 } : {},
    },
  }).constraints;
}

function override(request: RouteRequest, random: RandomChoices): void {
  request.overrides = create(RouteRequestSchema, {
    overrides: {
      overlapCredit: random.pick([0, 1, 2, -1]),
      temperature: random.pick([0, 0.5, 3]),
      assumeKvReuse: random.oneIn(2),
      trackPrefillTokens: random.oneIn(2),
    },
  }).overrides;
}
