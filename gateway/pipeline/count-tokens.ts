import type { GatewayContext } from '../context.ts';
import type { GenerationRequest } from './request.ts';

/** Tokens that the prompt of a chat has once its template is applied. */
export async function countChatTokens(
  ctx: GatewayContext,
  request: GenerationRequest | undefined,
  signal: AbortSignal,
): Promise<number> {
  const model = request?.model.entry.name ?? '';
  const prompt = request?.prompt.case === 'chat' ? request.prompt : { case: undefined };
  const { tokens } = await ctx.tokenizer.countTokens({ model, prompt }, { signal });
  return tokens;
}
