import { create } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import {
  type ModelInferRequest,
  ModelInferResponseSchema,
  type ModelStreamInferResponse,
  ModelStreamInferResponseSchema,
} from '#gen/inference/kserve_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import { publicMessage } from '../http/error-body.ts';
import { admitted, authenticated } from '../tenants/guard-rpc.ts';
import { inferStreamed } from './infer.ts';
import { Outlet } from './outlet.ts';

type Outgoing = Outlet<ModelStreamInferResponse>;

/**
 * Answers the requests of a stream. Requests with ids run beside each other, as many as the settings say, and their
 * responses come as they arise; a request without one runs alone, so that responses can be told apart by their order. What
 * is wrong with a request is said in its response and does not end the stream. A stream that waits for requests ends when
 * the gateway does.
 */
export async function* answerStream(
  ctx: GatewayContext,
  requests: AsyncIterable<ModelInferRequest>,
  context: HandlerContext,
): AsyncGenerator<ModelStreamInferResponse> {
  await authenticated(ctx.access, context, () => {});
  const outgoing: Outgoing = new Outlet();
  const left = new AbortController();
  const signal = AbortSignal.any([context.signal, left.signal]);
  signal.addEventListener('abort', () => outgoing.close(signal.reason), { once: true });
  new StreamReader(ctx, context, outgoing, signal).run(requests).then(
    () => outgoing.end(),
    (thrown: unknown) => outgoing.end(thrown),
  );
  try {
    yield* outgoing;
  } finally {
    left.abort(new StatorError('cancelled', 'The client ended the call.'));
  }
}

/** Reads requests as fast as they can be answered. */
class StreamReader {
  readonly #ctx: GatewayContext;
  readonly #context: HandlerContext;
  readonly #outgoing: Outgoing;
  readonly #signal: AbortSignal;
  readonly #running = new Set<Promise<void>>();

  constructor(ctx: GatewayContext, context: HandlerContext, outgoing: Outgoing, signal: AbortSignal) {
    this.#ctx = ctx;
    this.#context = context;
    this.#outgoing = outgoing;
    this.#signal = signal;
  }

  async run(requests: AsyncIterable<ModelInferRequest>): Promise<void> {
    const iterator = requests[Symbol.asyncIterator]();
    const stop = AbortSignal.any([this.#ctx.draining, this.#signal]);
    try {
      for (;;) {
        const request = await nextUnless(stop, iterator);
        if (request === null) break;
        const isOrdered = request.id === '';
        await this.#room(isOrdered ? 1 : this.#ctx.config.kserveStreamRequests);
        this.#start(request);
        if (isOrdered) await this.#room(1);
      }
    } finally {
      await Promise.all(this.#running);
    }
  }

  /** Waits until fewer than so many requests run. */
  async #room(most: number): Promise<void> {
    while (this.#running.size >= most) await Promise.race(this.#running);
  }

  #start(request: ModelInferRequest): void {
    const running = this.#answer(request).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Never rejects: errors are responses. */
  async #answer(request: ModelInferRequest): Promise<void> {
    const put = (inferResponse: ModelStreamInferResponse['inferResponse'], errorMessage = ''): Promise<void> =>
      this.#outgoing.put(
        create(ModelStreamInferResponseSchema, {
          errorMessage,
          ...(inferResponse === undefined ? {} : { inferResponse }),
        }),
      );
    try {
      await admitted(this.#ctx.access, this.#context, () =>
        inferStreamed(this.#ctx, request, this.#context, { respond: put, signal: this.#signal }),
      );
    } catch (thrown) {
      const { id, modelName } = request;
      const error = StatorError.from(thrown);
      await put(create(ModelInferResponseSchema, { id, modelName }), `${error.code}: ${publicMessage(error)}`);
    }
  }
}

/** The next request; null at the end, or once nobody waits for it any more. */
async function nextUnless<T>(stop: AbortSignal, iterator: AsyncIterator<T>): Promise<T | null> {
  if (stop.aborted) return null;
  let onStop: () => void = () => {};
  const stopped = new Promise<null>((resolve) => {
    onStop = () => resolve(null);
    stop.addEventListener('abort', onStop, { once: true });
  });
  const next = iterator.next();
  next.catch(() => {});
  try {
    const result = await Promise.race([next, stopped]);
    return result === null || result.done === true ? null : result.value;
  } finally {
    stop.removeEventListener('abort', onStop);
  }
}
