import { create } from '@bufbuild/protobuf';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { type ModelCard, Pooling, Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { EngineHost } from './host.ts';
import { fromSequenceError, type SequenceSink } from './sequence.ts';

/** Has the engine really compute something: a few tokens, or a vector where it only embeds. Throws what it failed with. */
export async function selfTest(
  host: EngineHost,
  o: { readonly tokens: number; readonly timeoutMs: number },
): Promise<void> {
  const tasks = host.card.capabilities?.tasks ?? [];
  if (tasks.includes(Task.CHAT) || tasks.includes(Task.COMPLETION)) return generate(host, o);
  if (host.engine.embed === undefined) return;
  const options = { pooling: Pooling.UNSPECIFIED, normalize: true, signal: AbortSignal.timeout(o.timeoutMs) };
  const vectors = await host.engine.embed([{ tokenIds: Uint32Array.of(plainToken(host.card)) }], options);
  if (vectors.length === 0) throw new StatorError('engine_failed', 'the engine embedded nothing');
}

function generate(host: EngineHost, o: { readonly tokens: number; readonly timeoutMs: number }): Promise<void> {
  const token = plainToken(host.card);
  const request = create(GenerateRequestSchema, {
    requestId: 'stator-self-test',
    tokenIds: [token, token],
    sampling: { temperature: 0 },
    stop: { maxTokens: o.tokens, ignoreEos: true },
    cache: { bypassPrefixCache: true, cacheSalt: 'stator-self-test' },
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const sink: SequenceSink = {
    addToken: () => 0,
    addLogprobs: () => {},
    prefilled: () => {},
    finished: ({ error }) => (error === undefined ? resolve() : reject(fromSequenceError(error))),
  };
  const sequence = host.submit(request, sink, { selfTest: true });
  const late = new StatorError('deadline_exceeded', `no token within ${o.timeoutMs} ms`);
  const timer = setTimeout(() => {
    host.cancel(sequence, late);
    reject(late);
  }, o.timeoutMs);
  return promise.finally(() => clearTimeout(timer));
}

/** A token that no model treats specially: the first that neither begins nor ends a text, from the byte range of most vocabularies. */
function plainToken({ tokenizer }: ModelCard): number {
  const special = new Set([...(tokenizer?.eosTokenIds ?? []), tokenizer?.bosTokenId]);
  const last = Math.max(1, tokenizer?.vocabSize ?? 1) - 1;
  for (let token = Math.min(100, last); token >= 0; token--) if (!special.has(token)) return token;
  return 0;
}
