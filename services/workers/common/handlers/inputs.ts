import type { TokenInput } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { EmbedInput } from '../engine.ts';
import type { EngineHost } from '../host.ts';
import { checkTokens } from '../validate.ts';

/** Most inputs of one request. */
const maxInputs = 2048;

/** Inputs as checked token ids; text where the engine encodes it. */
export function toInputs(
  host: EngineHost,
  inputs: readonly TokenInput[],
  field: string,
  truncate: boolean,
): EmbedInput[] {
  if (inputs.length === 0) throw StatorError.invalid(field, `${field} must hold at least one input`);
  if (inputs.length > maxInputs) throw StatorError.invalid(field, `${field} must hold at most ${maxInputs} inputs`);
  return inputs.map((input, index) => toInput(host, input, `${field}[${index}]`, truncate));
}

export function toInput(host: EngineHost, input: TokenInput, field: string, truncate: boolean): EmbedInput {
  const limit = host.card.limits?.contextLength ?? 0;
  let tokenIds = input.tokenIds.length > 0 ? input.tokenIds : encoded(host, input.text, field);
  if (truncate && limit > 0 && tokenIds.length > limit) tokenIds = tokenIds.slice(0, limit);
  checkTokens(tokenIds, host.card, `${field}.token_ids`, 0);
  return { tokenIds: Uint32Array.from(tokenIds) };
}

export function tokensOf(inputs: readonly EmbedInput[]): number {
  return inputs.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
}

function encoded(host: EngineHost, text: string, field: string): number[] {
  if (text === '') return [];
  const encode = host.engine.text?.encode;
  if (encode === undefined)
    throw StatorError.unsupported(`${field}.text`, `model ${host.card.name} takes token ids only: send token_ids`);
  return [...encode(text)];
}
