import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { detokenizeRequest, type TokenizeRequestBody, tokenizeRequest } from '../schemas/tokenize.ts';
import { translateChat } from '../translate/chat.ts';
import { checkTokenIds } from '../translate/common.ts';
import { headerWishes } from '../translate/header-wishes.ts';
import { translateInput } from '../translate-input.ts';
import { validateBody } from '../validate.ts';
import { noteModel } from './note-model.ts';

const onlyForMessages = ['tools', 'add_generation_prompt', 'continue_final_message', 'chat_template_kwargs'] as const;

/** POST /tokenize and /v1/tokenize */
export async function tokenize(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const valid = validateBody(tokenizeRequest, body);
  checkForm(valid);
  const model = ctx.catalog.known(valid.model);
  const tokens = valid.messages
    ? await tokensOfChat(ctx, exchange, valid, model)
    : await tokensOfText(ctx, exchange, valid, model);
  const strings = valid.return_token_strs ? await textsOf(ctx, exchange, model, tokens) : null;
  const most = model.entry.card.limits?.contextLength ?? 0;
  const answer = { count: tokens.length, max_model_len: most, tokens, token_strs: strings };
  sendJson(exchange, 200, JSON.stringify(answer));
  record.end(null);
}

function checkForm(body: TokenizeRequestBody): void {
  const given = (value: unknown): boolean => value !== null && value !== undefined;
  if (given(body.prompt) === given(body.messages)) {
    const message = given(body.prompt) ? 'cannot be combined with `messages`' : 'is required, or `messages`';
    throw StatorError.invalid('prompt', `Validation: \`prompt\`: ${message}`);
  }
  for (const field of onlyForMessages) {
    if (given(body[field]) && given(body.prompt))
      throw StatorError.invalid(field, `Validation: \`${field}\` needs \`messages\``);
  }
  if (given(body.add_special_tokens) && given(body.messages)) {
    const message = 'Validation: `add_special_tokens` needs `prompt`: the chat template decides for `messages`';
    throw StatorError.invalid('add_special_tokens', message);
  }
}

async function tokensOfText(
  ctx: GatewayContext,
  { signal }: Exchange,
  body: TokenizeRequestBody,
  model: ResolvedModel,
): Promise<readonly number[]> {
  const request = {
    model: model.entry.name,
    texts: [body.prompt ?? ''],
    addSpecialTokens: body.add_special_tokens ?? true,
  };
  const { encodings } = await ctx.tokenizer.encode(request, { signal });
  return encodings[0]?.tokenIds ?? [];
}

async function tokensOfChat(
  ctx: GatewayContext,
  exchange: Exchange,
  body: TokenizeRequestBody,
  model: ResolvedModel,
): Promise<readonly number[]> {
  const { tools, add_generation_prompt, continue_final_message, chat_template_kwargs } = body;
  const chat = {
    model: body.model,
    messages: body.messages ?? [],
    tools,
    add_generation_prompt,
    continue_final_message,
    chat_template_kwargs,
  };
  const { requests } = translateChat(chat, model, headerWishes(exchange.request.rawHeaders), translateInput(ctx));
  const prompt = requests[0]?.prompt ?? { case: undefined };
  const { signal } = exchange;
  const { tokenIds } = await ctx.tokenizer.preprocess({ model: model.entry.name, prompt }, { signal });
  return tokenIds;
}

async function textsOf(
  ctx: GatewayContext,
  { signal }: Exchange,
  model: ResolvedModel,
  tokenIds: readonly number[],
): Promise<string[]> {
  const tokens = await ctx.pipeline.tables.get(model.entry, signal);
  return tokenIds.map((tokenId) => tokens.text(tokenId));
}

/** POST /detokenize and /v1/detokenize */
export async function detokenize(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const valid = validateBody(detokenizeRequest, body);
  const model = ctx.catalog.known(valid.model);
  checkTokenIds(valid.tokens, 'tokens', model);
  const request = {
    model: model.entry.name,
    tokenIds: [...valid.tokens],
    skipSpecialTokens: valid.skip_special_tokens ?? false,
  };
  const { text } = await ctx.tokenizer.decode(request, { signal: exchange.signal });
  sendJson(exchange, 200, JSON.stringify({ prompt: text }));
  record.end(null);
}
