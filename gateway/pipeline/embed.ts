import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import type { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { type RouteDecision, RouteRequestSchema } from '#gen/stator/router/v1/router_pb.ts';
import { errorClasses } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import type { TraceContext } from '../telemetry/request-record.ts';
import { meter } from '../tenants/caller.ts';
import { inTime } from './in-time.ts';
import type { RoutingWishes } from './request.ts';
import { wishesOf } from './route-request.ts';

export type EmbedPrompt = { readonly text: string } | { readonly tokenIds: readonly number[] };

/** Inputs that are computed as they are, without generation. */
export interface InputOptions {
  readonly prompts: readonly EmbedPrompt[];
  readonly addSpecialTokens: boolean;
  /** Tokens of each input that are kept; 0: refuse over the context length, -1: what the model takes. */
  readonly truncateTokens: number;
  /** What the caller calls the inputs. */
  readonly fields: { readonly input: string };
  readonly routing: RoutingWishes;
  readonly trace: TraceContext;
  readonly signal: AbortSignal;
}

export interface EmbedOptions extends InputOptions {
  /** Components that are kept; 0: all. */
  readonly dimensions: number;
  readonly fields: { readonly input: string; readonly dimensions: string };
}

export interface Embedded {
  readonly vectors: readonly Float32Array[];
  readonly promptTokens: number;
}

/** Tokenizes and embeds inputs on one worker. */
export function embed(ctx: GatewayContext, model: ResolvedModel, o: EmbedOptions): Promise<Embedded> {
  return inTime(boundsOf(ctx, o), (signal) => embedInputs(ctx, model, { ...o, signal }));
}

/** How long a request may take that is computed as a whole. */
export function boundsOf(
  { config }: GatewayContext,
  { routing, signal }: Pick<InputOptions, 'routing' | 'signal'>,
): Parameters<typeof inTime>[0] {
  return { deadlineUnixMs: routing.deadlineUnixMs, limitMs: config.requestTimeoutSeconds * 1000, signal };
}

async function embedInputs(ctx: GatewayContext, model: ResolvedModel, o: EmbedOptions): Promise<Embedded> {
  const { card, name } = model.entry;
  const can = card.capabilities;
  if (!(can?.tasks ?? []).includes(Task.EMBEDDING)) {
    throw StatorError.unsupported('model', `\`model\`: the model \`${name}\` does not embed`);
  }
  const most = can?.embeddingDimensions ?? 0;
  if (o.dimensions > 0 && most > 0 && o.dimensions > most) {
    throw StatorError.invalid(
      o.fields.dimensions,
      `\`${o.fields.dimensions}\`: the model's vectors have ${most} components`,
    );
  }
  const inputs = await tokenizeInputs(ctx, model, o);
  const promptTokens = inputs.reduce((sum, tokenIds) => sum + tokenIds.length, 0);
  const requestId = randomUUID();
  const { routing, trace, signal } = o;
  const answer = await onWorker(ctx, model, { requestId, promptTokens, routing, trace, signal }, (engine) =>
    engine.embed(
      { requestId, model: name, inputs: inputs.map((tokenIds) => ({ tokenIds })), truncate: false },
      { signal },
    ),
  );
  const ordered = [...answer.embeddings].sort((a, b) => a.index - b.index);
  if (ordered.length !== inputs.length) {
    throw new StatorError(
      'backend_protocol',
      `The worker answered ${ordered.length} vectors for ${inputs.length} inputs.`,
    );
  }
  return { vectors: ordered.map((one) => shorten(one.values, o.dimensions)), promptTokens };
}

/** The token ids of every input, cut or checked against the context length. */
export async function tokenizeInputs(ctx: GatewayContext, model: ResolvedModel, o: InputOptions): Promise<number[][]> {
  const texts = o.prompts.flatMap((prompt) => ('text' in prompt ? [prompt.text] : []));
  const encoded = (await encode(ctx, model.entry.name, texts, o)).values();
  return o.prompts.map((prompt, index) => {
    const tokenIds = 'tokenIds' in prompt ? [...prompt.tokenIds] : (encoded.next().value ?? []);
    return fitting(model, o, tokenIds, index);
  });
}

function fitting(model: ResolvedModel, o: InputOptions, encoded: number[], index: number): number[] {
  const context = model.entry.card.limits?.contextLength ?? 0;
  const field = o.prompts.length === 1 ? o.fields.input : `${o.fields.input}[${index}]`;
  if (encoded.length === 0) throw StatorError.invalid(field, `\`${field}\` has no tokens`);
  const kept = o.truncateTokens < 0 ? context : o.truncateTokens;
  const tokenIds = kept > 0 ? encoded.slice(0, kept) : encoded;
  if (context > 0 && tokenIds.length > context) {
    const message = `This model's maximum context length is ${context} tokens. However, \`${field}\` has ${tokenIds.length} tokens.`;
    const facts = { limit: context, actual: tokenIds.length };
    throw new StatorError('context_length_exceeded', message, { field, facts });
  }
  return tokenIds;
}

/** Token ids of each text, asked for at once. */
async function encode(
  ctx: GatewayContext,
  model: string,
  texts: readonly string[],
  { addSpecialTokens, signal }: InputOptions,
): Promise<number[][]> {
  if (texts.length === 0) return [];
  const { encodings } = await ctx.tokenizer.encode({ model, texts: [...texts], addSpecialTokens }, { signal });
  if (encodings.length !== texts.length)
    throw new StatorError('backend_protocol', 'The tokenizer answered another number of encodings.');
  return encodings.map(({ tokenIds }) => tokenIds);
}

/** The first components of a vector, scaled to length 1 again. */
function shorten(values: readonly number[], dimensions: number): Float32Array {
  if (dimensions === 0 || dimensions >= values.length) return Float32Array.from(values);
  const kept = Float32Array.from(values.slice(0, dimensions));
  const length = Math.sqrt(kept.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? kept : kept.map((value) => value / length);
}

/** Calls one worker that the router chooses; another one if that fails in a way that another may not. */
export async function onWorker<T>(
  ctx: GatewayContext,
  model: ResolvedModel,
  o: {
    requestId: string;
    promptTokens: number;
    routing: RoutingWishes;
    trace: TraceContext;
    signal: AbortSignal;
  },
  call: (engine: Client<typeof EngineService>) => Promise<T>,
): Promise<T> {
  ctx.access.tenants.apply({ priority: 0, cacheSalt: '', routing: o.routing });
  meter(model.entry.name, () => o.promptTokens);
  const excluded: bigint[] = [];
  for (;;) {
    const requestId = `${o.requestId}/${excluded.length}`;
    const decision: RouteDecision = await ctx.pipeline.router.route(
      create(RouteRequestSchema, {
        requestId,
        model: model.entry.name,
        promptTokens: o.promptTokens,
        ...wishesOf(o.routing, excluded),
        adapter: model.adapter,
        queueTimeoutMs: ctx.pipeline.routeTimeoutMs,
        sequences: 1,
        traceparent: o.trace.traceparent,
        tracestate: o.trace.tracestate,
      }),
      o.signal,
    );
    let workerFailed = false;
    try {
      return await call(ctx.workers.client(decision.instanceId));
    } catch (thrown) {
      const error = StatorError.from(thrown);
      workerFailed = error.retryable ?? errorClasses[error.code].retryable;
      const isPinned = o.routing.instanceId !== null;
      if (!workerFailed || isPinned || o.signal.aborted || excluded.length >= ctx.pipeline.migration.limit) throw error;
      excluded.push(decision.instanceId);
    } finally {
      ctx.pipeline.router.finish(requestId, { workerFailed });
    }
  }
}
