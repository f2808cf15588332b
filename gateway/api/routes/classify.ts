import { randomUUID } from 'node:crypto';
import type { ClassifyResponse_Classification } from '#gen/stator/engine/v1/generate_pb.ts';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import { boundsOf, type InputOptions, onWorker, tokenizeInputs } from '../../pipeline/embed.ts';
import { inTime } from '../../pipeline/in-time.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { classifyRequest } from '../schemas/scoring.ts';
import { headerWishes } from '../translate/header-wishes.ts';
import { inputsOf } from '../translate/inputs.ts';
import { routingOf } from '../translate/routing.ts';
import { validateBody } from '../validate.ts';
import { noteModel } from './note-model.ts';
import { listHead, usage } from './scoring.ts';

/** POST /v1/classify and /classify */
export async function classify(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const valid = validateBody(classifyRequest, body);
  const model = ctx.catalog.resolve(valid.model);
  const { card, name } = model.entry;
  if (!(card.capabilities?.tasks ?? []).includes(Task.CLASSIFY))
    throw StatorError.unsupported('model', `\`model\`: the model \`${name}\` does not classify`);
  const headers = headerWishes(exchange.request.rawHeaders);
  const routing = routingOf(valid, headers, null, { nowMs: Date.now() });
  const { classifications, promptTokens } = await inTime(
    boundsOf(ctx, { routing, signal: exchange.signal }),
    (signal) =>
      classifyInputs(ctx, model, {
        prompts: inputsOf(valid.input, model),
        addSpecialTokens: valid.add_special_tokens ?? true,
        truncateTokens: valid.truncate_prompt_tokens ?? 0,
        fields: { input: 'input' },
        routing,
        trace: record.traceContext(headers),
        signal,
      }),
  );
  const data = classifications.map(({ label, probabilities }, index) => ({
    index,
    label,
    probs: probabilities,
    num_classes: probabilities.length,
  }));
  const head = listHead('classify', exchange, model);
  sendJson(exchange, 200, JSON.stringify({ ...head, data, usage: usage(promptTokens) }));
  record.end(null);
}

async function classifyInputs(
  ctx: GatewayContext,
  model: ResolvedModel,
  o: InputOptions,
): Promise<{ classifications: readonly ClassifyResponse_Classification[]; promptTokens: number }> {
  const inputs = await tokenizeInputs(ctx, model, o);
  const promptTokens = inputs.reduce((sum, tokenIds) => sum + tokenIds.length, 0);
  const requestId = randomUUID();
  const { name } = model.entry;
  const { routing, trace, signal } = o;
  const { classifications } = await onWorker(
    ctx,
    model,
    { requestId, promptTokens, routing, trace, signal },
    (engine) =>
      engine.classify({ requestId, model: name, inputs: inputs.map((tokenIds) => ({ tokenIds })) }, { signal }),
  );
  if (classifications.length !== inputs.length) {
    const message = `The worker answered ${classifications.length} classifications for ${inputs.length} inputs.`;
    throw new StatorError('backend_protocol', message);
  }
  return { classifications, promptTokens };
}
