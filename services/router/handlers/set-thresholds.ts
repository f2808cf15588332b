import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import type { Thresholds } from '#core/routing/thresholds.ts';
import {
  type BusyThresholds,
  BusyThresholdsSchema,
  type RouterService,
  SetThresholdsResponseSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';

export function setThresholds(context: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    setThresholds({ model, thresholds }) {
      return create(SetThresholdsResponseSchema, { thresholds: updateThresholds(context, model, thresholds) });
    },
  };
}

/** Sets the thresholds of a model, or only reads them where none are given; returns those in force. */
export function updateThresholds(
  context: Pick<RouterContext, 'workers' | 'thresholds' | 'defaultThresholds' | 'admission'>,
  model: string,
  wanted: BusyThresholds | undefined,
): BusyThresholds {
  if (context.workers.model(model) === undefined)
    throw new StatorError('model_not_found', `No worker serves the model \`${model}\`.`, { field: 'model' });
  if (wanted !== undefined) {
    context.thresholds.set(model, checked(wanted));
    context.admission.wake();
  }
  const { activeDecodeBlocks, activePrefillTokens, activePrefillTokensFraction } =
    context.thresholds.get(model) ?? context.defaultThresholds;
  return create(BusyThresholdsSchema, {
    ...(activeDecodeBlocks === undefined ? {} : { activeDecodeBlocks }),
    ...(activePrefillTokens === undefined ? {} : { activePrefillTokens: BigInt(activePrefillTokens) }),
    ...(activePrefillTokensFraction === undefined ? {} : { activePrefillTokensFraction }),
  });
}

function checked(wanted: BusyThresholds): Thresholds {
  const { activeDecodeBlocks, activePrefillTokens, activePrefillTokensFraction } = wanted;
  if (activeDecodeBlocks !== undefined && !(activeDecodeBlocks >= 0 && activeDecodeBlocks <= 1))
    throw StatorError.invalid('thresholds.active_decode_blocks', 'A fraction from 0 to 1 is expected.');
  if (activePrefillTokensFraction !== undefined && !(activePrefillTokensFraction >= 0))
    throw StatorError.invalid('thresholds.active_prefill_tokens_fraction', 'A number of at least 0 is expected.');
  const tokens = activePrefillTokens === undefined ? undefined : Number(activePrefillTokens);
  return { activeDecodeBlocks, activePrefillTokens: tokens, activePrefillTokensFraction };
}
