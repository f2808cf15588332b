import { setTimeout as delay } from 'node:timers/promises';
import type { ConnectRouter, HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** For tests: the unary and the streaming RPC that most tests need, and what they saw. */
export class EngineStub {
  readonly contexts: HandlerContext[] = [];
  /** Signals of handlers that were aborted. */
  aborted = 0;
  /** What Abort throws. */
  failure: unknown;

  /** Abort answers the length of the request id; `wait` waits until it is aborted. */
  readonly abort: ServiceImpl<typeof EngineService>['abort'] = async ({ requestId }, context) => {
    this.#enter(context);
    if (this.failure !== undefined) throw this.failure;
    if (requestId === 'wait') await delay(60_000, undefined, { signal: context.signal });
    return { aborted: requestId.length };
  };

  /** Generate echoes the prompt's tokens, one a message, then fails for the model `failing` and waits for `endless`. */
  readonly generate: ServiceImpl<typeof EngineService>['generate'] = (request, context) => {
    this.#enter(context);
    return generate(request, context);
  };

  readonly routes = (router: ConnectRouter): void => {
    router.service(EngineService, { abort: this.abort, generate: this.generate });
  };

  #enter(context: HandlerContext): void {
    this.contexts.push(context);
    const abort = (): void => {
      this.aborted++;
    };
    if (context.signal.aborted) abort();
    else context.signal.addEventListener('abort', abort);
  }
}

async function* generate(
  { tokenIds, model }: { tokenIds: number[]; model: string },
  { signal }: HandlerContext,
): AsyncGenerator<{ tokenIds: number[] }> {
  for (const tokenId of tokenIds) yield { tokenIds: [tokenId] };
  if (model === 'failing')
    throw new StatorError('engine_failed', 'step failed', { retryable: true, facts: { step: 3 } });
  if (model === 'endless') await delay(60_000, undefined, { signal });
}
