import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type RouterService, UpdateReservationResponseSchema } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';

/** Progress and end of a reservation without session. The request is named once, outside the update. */
export function updateReservation({ timed }: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    updateReservation({ requestId, update }) {
      if (requestId === '') throw StatorError.invalid('request_id', 'The request is not named.');
      const found = timed.has(requestId);
      if (found) {
        switch (update.case) {
          case 'prefillDone':
            timed.prefillDone(requestId);
            break;
          case 'outputBlock':
            timed.outputBlock(requestId, update.value.outputTokens);
            break;
          case 'finish':
            timed.finish(requestId, update.value.workerFailed);
            break;
          default:
            throw StatorError.invalid('update', 'Expected one of prefill_done, output_block and finish.');
        }
      }
      return create(UpdateReservationResponseSchema, { found });
    },
  };
}
