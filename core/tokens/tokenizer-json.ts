import { type DecoderJson, decoderBytes } from './decoder-json.ts';

/** The parts of Hugging Face's tokenizer.json that are read here. */
export interface TokenizerJson {
  readonly added_tokens?: readonly AddedTokenJson[];
  readonly normalizer?: NormalizerJson | null;
  readonly decoder?: DecoderJson | null;
  readonly model: {
    readonly type?: string;
    readonly vocab: Readonly<Record<string, number>> | readonly (readonly [string, number])[];
  };
}

export interface NormalizerJson {
  readonly type: string;
  readonly normalizers?: readonly NormalizerJson[];
}

export interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
  readonly single_word?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly normalized?: boolean;
}

/** A token that is found in text before anything else is tokenised. */
export interface AddedToken {
  readonly id: number;
  readonly text: string;
  /** Whether it is left out of decoded text. */
  readonly special: boolean;
  /** Whether it matches the text exactly where it stands, whatever surrounds it. */
  readonly exact: boolean;
}

/** What is needed to turn ids into text, in the shape of the contract's token table. */
export interface VocabularyData {
  readonly data: Uint8Array;
  readonly offsets: number[];
  readonly specialTokenIds: number[];
  readonly stripLeadingSpace: boolean;
}

/** Throws SyntaxError, in words for the model's owner, when the file is not what this reader understands. */
export function parseTokenizerJson(text: string): TokenizerJson {
  const json: unknown = JSON.parse(text);
  if (typeof json !== 'object' || json === null || !('model' in json)) {
    throw new SyntaxError('tokenizer.json has no model');
  }
  const { model } = json;
  if (typeof model !== 'object' || model === null || !('vocab' in model)) {
    throw new SyntaxError('the model in tokenizer.json has no vocab');
  }
  return json as TokenizerJson;
}

/** Token bytes of a tokenizer.json, exactly as its decoder joins them. */
export function vocabularyData(json: TokenizerJson): VocabularyData {
  const tokens = tokensById(json);
  const { bytes, stripLeadingSpace } = decoderBytes(json.decoder ?? null);
  const parts = tokens.map((token) => (token === undefined ? new Uint8Array(0) : bytes(token)));
  const special = (json.added_tokens ?? []).filter((token) => token.special === true).map((token) => token.id);
  return { ...concatenate(parts), specialTokenIds: special.sort((a, b) => a - b), stripLeadingSpace };
}

/** The added tokens, and which of them match exactly. */
export function addedTokens(json: TokenizerJson): AddedToken[] {
  const plain = normalizesNothing(json.normalizer ?? null);
  return (json.added_tokens ?? []).map((token) => ({
    id: token.id,
    text: token.content,
    special: token.special === true,
    exact:
      token.single_word !== true &&
      token.lstrip !== true &&
      token.rstrip !== true &&
      (plain || token.normalized === false),
  }));
}

function normalizesNothing(normalizer: NormalizerJson | null): boolean {
  if (normalizer === null) return true;
  return normalizer.type === 'Sequence' && (normalizer.normalizers ?? []).every(normalizesNothing);
}

function tokensById(json: TokenizerJson): (string | undefined)[] {
  const tokens: (string | undefined)[] = [];
  const { vocab } = json.model;
  const put = (token: string, id: number): void => {
    if (!Number.isInteger(id) || id < 0 || id > maxTokenId)
      throw new SyntaxError(`tokenizer.json gives a token the id ${id}`);
    while (tokens.length <= id) tokens.push(undefined);
    tokens[id] = token;
  };
  if (Array.isArray(vocab)) for (const [id, entry] of vocab.entries()) put(String(entry[0]), id);
  else for (const [token, id] of Object.entries(vocab)) put(token, id);
  for (const added of json.added_tokens ?? []) put(added.content, added.id);
  return tokens;
}

/** Above any real vocabulary; bounds what a hostile file can make us allocate. */
const maxTokenId = 4_000_000;

function concatenate(parts: readonly Uint8Array[]): { data: Uint8Array; offsets: number[] } {
  const offsets = [0];
  let length = 0;
  for (const part of parts) {
    length += part.length;
    offsets.push(length);
  }
  const data = new Uint8Array(length);
  for (const [id, part] of parts.entries()) data.set(part, offsets[id]);
  return { data, offsets };
}
