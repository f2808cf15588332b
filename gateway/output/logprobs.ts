import type { PositionLogprobs, TokenLogprob } from '#gen/stator/engine/v1/generate_pb.ts';
import { escapeJson } from '../sse/json-escape.ts';
import type { ModelTokens } from '../tokenizer/token-tables.ts';

/** JSON has no infinity; OpenAI writes this for a probability of 0. */
const lowestLogprob = -9999;

function numberOf(logprob: number): string {
  return String(Number.isFinite(logprob) ? logprob : lowestLogprob);
}

/** How tokens are shown. */
export interface TokenStyle {
  readonly tokens: ModelTokens;
  /** `token_id:<id>` instead of text. */
  readonly asIds: boolean;
}

export function tokenText(tokenId: number, style: TokenStyle): string {
  return style.asIds ? `token_id:${tokenId}` : style.tokens.text(tokenId);
}

function chatToken(token: TokenLogprob, style: TokenStyle): string {
  const text = escapeJson(tokenText(token.tokenId, style));
  const bytes = style.tokens.bytes(token.tokenId).join(',');
  return `"token":"${text}","logprob":${numberOf(token.logprob)},"bytes":[${bytes}]`;
}

/** `logprobs` of a chat choice, as JSON. */
export function renderChatLogprobs(positions: readonly PositionLogprobs[], style: TokenStyle): string {
  const content = positions.map(({ chosen, top }) => {
    if (chosen === undefined) return 'null';
    const alternatives = top.map((token) => `{${chatToken(token, style)}}`).join(',');
    return `{${chatToken(chosen, style)},"top_logprobs":[${alternatives}]}`;
  });
  return `{"content":[${content.join(',')}],"refusal":null}`;
}

/**
 * `logprobs` of a completion choice, as JSON; `textOffset` is where the first token's text begins, in characters. `first`: a
 * token in front that nothing predicted.
 */
export function renderCompletionLogprobs(
  positions: readonly PositionLogprobs[],
  style: TokenStyle,
  textOffset: number,
  first: number | null = null,
): { json: string; nextOffset: number } {
  const tokens: string[] = [];
  const logprobs: string[] = [];
  const tops: string[] = [];
  const offsets: number[] = [];
  let offset = textOffset;
  if (first !== null) {
    tokens.push(`"${escapeJson(tokenText(first, style))}"`);
    logprobs.push('null');
    tops.push('null');
    offsets.push(offset);
    offset += style.tokens.text(first).length;
  }
  for (const { chosen, top } of positions) {
    if (chosen === undefined) continue;
    tokens.push(`"${escapeJson(tokenText(chosen.tokenId, style))}"`);
    logprobs.push(numberOf(chosen.logprob));
    // Different tokens may have the same text; the likeliest of them speaks for it.
    const byText = new Map<string, string>();
    for (const token of top) {
      const text = tokenText(token.tokenId, style);
      if (!byText.has(text)) byText.set(text, numberOf(token.logprob));
    }
    tops.push(`{${[...byText].map(([text, logprob]) => `"${escapeJson(text)}":${logprob}`).join(',')}}`);
    offsets.push(offset);
    offset += style.tokens.text(chosen.tokenId).length;
  }
  const json = `{"tokens":[${tokens.join(',')}],"token_logprobs":[${logprobs.join(',')}],"top_logprobs":[${tops.join(',')}],"text_offset":[${offsets.join(',')}]}`;
  return { json, nextOffset: offset };
}

/** The same of a prompt that is repeated, up to the first token of output. */
export function renderEchoedLogprobs(
  {
    tokenIds,
    logprobs,
  }: { readonly tokenIds: readonly number[]; readonly logprobs: readonly PositionLogprobs[] | null },
  output: readonly PositionLogprobs[],
  style: TokenStyle,
): { json: string; nextOffset: number } {
  return renderCompletionLogprobs([...(logprobs ?? []), ...output], style, 0, tokenIds[0] ?? null);
}

/** `prompt_logprobs`: null for the first token, then the chosen and the likeliest tokens of each place by id. */
export function renderPromptLogprobs(positions: readonly PositionLogprobs[], style: TokenStyle): string {
  const entries = positions.map(({ chosen, top }) => {
    const all = chosen === undefined ? top : [chosen, ...top.filter((token) => token.tokenId !== chosen.tokenId)];
    const tokens = all.map((token) => {
      const text = escapeJson(style.tokens.text(token.tokenId));
      return `"${token.tokenId}":{"logprob":${numberOf(token.logprob)},"rank":${token.rank},"decoded_token":"${text}"}`;
    });
    return `{${tokens.join(',')}}`;
  });
  return `[${['null', ...entries].join(',')}]`;
}
