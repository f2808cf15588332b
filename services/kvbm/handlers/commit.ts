import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { commitOutcomes } from '#core/blocks/writing.ts';
import {
  CommitOutcome,
  type CommitRequest,
  CommitResponseSchema,
  type KvBlockService,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { KvbmContext } from '../context.ts';
import { refusing } from '../refusals.ts';

/** By the number that the block manager gives. */
const wireOutcomes: Readonly<Record<number, CommitOutcome>> = {
  [commitOutcomes.registered]: CommitOutcome.REGISTERED,
  [commitOutcomes.duplicate]: CommitOutcome.DUPLICATE,
  [commitOutcomes.refused]: CommitOutcome.REFUSED,
  [commitOutcomes.revoked]: CommitOutcome.REVOKED,
};

export function commit({ holders, host, config }: KvbmContext): Partial<ServiceImpl<typeof KvBlockService>> {
  return {
    commit(request) {
      const holder = holders.acting(request.holderId);
      checkColumns(request, config.maxChainBlocks);
      const { blockBytes, index: arena } = holder.layout;
      const wrong = request.bytes.findIndex((bytes) => bytes < 1n || bytes > BigInt(blockBytes));
      if (wrong >= 0)
        throw StatorError.invalid(`bytes[${wrong}]`, `A block of this layout has 1 to ${blockBytes} bytes.`);
      const written = {
        ...ticketsOf(request),
        arena,
        checksums: Uint32Array.from(
          request.checksums.flatMap((sum) => [Number(sum & 0xffffffffn), Number(sum >> 32n)]),
        ),
        sizes: Uint32Array.from(request.bytes, Number),
      };
      const outcomes = refusing(() => host.commit(holder.id, written));
      return create(CommitResponseSchema, {
        outcomes: Array.from(outcomes, (outcome) => wireOutcomes[outcome] ?? CommitOutcome.REFUSED),
      });
    },
  };
}

/** Slots and generations as a reservation gave them. */
export function ticketsOf(request: Pick<CommitRequest, 'epoch' | 'slots' | 'generations'>) {
  const { epoch, slots, generations } = request;
  return { epoch, slots: Uint32Array.from(slots), generations: Uint32Array.from(generations) };
}

function checkColumns({ slots, generations, checksums, bytes }: CommitRequest, most: number): void {
  checkSlots(slots, generations, most);
  if (checksums.length !== slots.length)
    throw StatorError.invalid('checksums', `There are ${checksums.length} for ${slots.length} slots.`);
  if (bytes.length !== slots.length)
    throw StatorError.invalid('bytes', `There are ${bytes.length} for ${slots.length} slots.`);
}

export function checkSlots(slots: readonly number[], generations: readonly number[], most: number): void {
  if (slots.length > most) throw StatorError.invalid('slots', `A call names at most ${most} slots.`);
  if (generations.length !== slots.length)
    throw StatorError.invalid('generations', `There are ${generations.length} for ${slots.length} slots.`);
}
