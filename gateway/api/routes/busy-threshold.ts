import type { z } from 'zod';
import type { BusyThresholds } from '#gen/stator/router/v1/router_pb.ts';
import type { GatewayContext } from '../../context.ts';
import { readJsonBody } from '../../http/body.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import type { ThresholdsInit } from '../../routing/router-client.ts';
import { type BusyThresholdRequestBody, type busyThreshold, busyThresholdRequest } from '../schemas/busy-threshold.ts';
import { validateBody } from '../validate.ts';

const mostBodyBytes = 64 * 1024;

/** GET /busy_threshold: the thresholds of every model. */
export async function listBusyThresholds(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  const { router } = ctx.pipeline;
  const thresholds = await Promise.all(
    ctx.catalog.entries().map(async ({ name }) => shown(name, await router.thresholds(name, null, exchange.signal))),
  );
  sendJson(exchange, 200, JSON.stringify({ thresholds }));
}

/** POST /busy_threshold: sets thresholds of a model, or only reads them where the body gives none; answers those in force. */
export async function setBusyThresholds(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  const body = validateBody(busyThresholdRequest, await readJsonBody(exchange, mostBodyBytes));
  const { name } = ctx.catalog.known(body.model).entry;
  const { router } = ctx.pipeline;
  const current = await router.thresholds(name, null, exchange.signal);
  const wanted = changed(current, body);
  const thresholds = wanted === null ? current : await router.thresholds(name, wanted, exchange.signal);
  sendJson(exchange, 200, JSON.stringify(shown(name, thresholds)));
}

/** Fields that are absent stay as they are; null turns one off where another is set. Null: nothing is set. */
function changed(current: BusyThresholds, body: BusyThresholdRequestBody): ThresholdsInit | null {
  const {
    active_decode_blocks_threshold: blocks,
    active_prefill_tokens_threshold: tokens,
    active_prefill_tokens_threshold_frac: fraction,
  } = body;
  if (![blocks, tokens, fraction].some((value) => typeof value === 'number')) return null;
  const activeDecodeBlocks = blocks === undefined ? current.activeDecodeBlocks : blocks;
  const activePrefillTokens = tokens === undefined ? current.activePrefillTokens : tokens;
  const activePrefillTokensFraction = fraction === undefined ? current.activePrefillTokensFraction : fraction;
  return {
    ...(typeof activeDecodeBlocks === 'number' ? { activeDecodeBlocks } : {}),
    ...(activePrefillTokens === undefined || activePrefillTokens === null
      ? {}
      : { activePrefillTokens: BigInt(activePrefillTokens) }),
    ...(typeof activePrefillTokensFraction === 'number' ? { activePrefillTokensFraction } : {}),
  };
}

function shown(model: string, thresholds: BusyThresholds): z.infer<typeof busyThreshold> {
  const { activeDecodeBlocks, activePrefillTokens, activePrefillTokensFraction } = thresholds;
  return {
    model,
    active_decode_blocks_threshold: activeDecodeBlocks ?? null,
    active_prefill_tokens_threshold: activePrefillTokens === undefined ? null : Number(activePrefillTokens),
    active_prefill_tokens_threshold_frac: activePrefillTokensFraction ?? null,
  };
}
