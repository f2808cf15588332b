import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Tokenizer } from 'tokenizers';
import type { SpecialTokenTexts } from '#core/chat/render.ts';
import { addedTokens, parseTokenizerJson, type VocabularyData, vocabularyData } from '#core/tokens/tokenizer-json.ts';
import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Encoder } from '../encoder.ts';
import { textOfToken, type Vocabulary } from '../vocabulary.ts';

/** The reference core: tokenizers of Hugging Face through its own native binding, on libuv's threads. */
class HuggingFaceEncoder implements Encoder {
  readonly #tokenizer: Tokenizer;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  async encode(text: string): Promise<Uint32Array> {
    const encoding = await this.#tokenizer.encode(text, null, { addSpecialTokens: false });
    return Uint32Array.from(encoding.getIds());
  }
}

export interface HuggingFaceFiles {
  readonly tokenizerJson: string;
  /** tokenizer_config.json; null where the card has none. */
  readonly tokenizerConfig: string | null;
}

/** Loads a tokenizer.json. Throws `invalid_argument` for a file that is none. */
export async function loadHuggingFace(files: HuggingFaceFiles, card: ModelCard): Promise<Vocabulary> {
  const text = await readFile(files.tokenizerJson, 'utf8');
  const config = files.tokenizerConfig === null ? {} : parseConfig(await readFile(files.tokenizerConfig, 'utf8'));
  const tokenizer = createTokenizer(text);
  const json = understood(() => parseTokenizerJson(text));
  const data = understood(() => vocabularyData(json));
  const around = await idsAround(tokenizer);
  return {
    encoder: new HuggingFaceEncoder(tokenizer),
    data,
    addedTokens: addedTokens(json),
    specialTexts: specialTexts(config, data, card),
    ...around,
    bosTokenId: tokenIdOf(tokenizer, config['bos_token']),
    eosTokenIds: [tokenIdOf(tokenizer, config['eos_token'])].filter((id) => id !== null),
    digest: createHash('sha256').update(text).digest(),
    chatTemplate: templateOf(config),
    close: () => {},
  };
}

function createTokenizer(text: string): Tokenizer {
  return understood(() => {
    const tokenizer = Tokenizer.fromString(text);
    tokenizer.disableTruncation();
    tokenizer.disablePadding();
    return tokenizer;
  });
}

function understood<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw StatorError.invalid('tokenizer', `tokenizer.json cannot be used: ${reason}.`, { cause });
  }
}

/** What the post-processor puts around a text, found by encoding one with and without it. */
async function idsAround(tokenizer: Tokenizer): Promise<{ prefixIds: Uint32Array; suffixIds: Uint32Array }> {
  const plain = (await tokenizer.encode('a', null, { addSpecialTokens: false })).getIds();
  const full = (await tokenizer.encode('a', null, { addSpecialTokens: true })).getIds();
  for (let at = 0; at + plain.length <= full.length; at++) {
    if (!plain.every((id, i) => full[at + i] === id)) continue;
    return {
      prefixIds: Uint32Array.from(full.slice(0, at)),
      suffixIds: Uint32Array.from(full.slice(at + plain.length)),
    };
  }
  throw StatorError.invalid('tokenizer', 'tokenizer.json adds special tokens in a way that is not supported.');
}

type TokenizerConfigJson = Readonly<Record<string, unknown>>;

function parseConfig(text: string): TokenizerConfigJson {
  const json: unknown = understood(() => JSON.parse(text));
  return typeof json === 'object' && json !== null ? { ...json } : {};
}

/** A special token in tokenizer_config.json: a string, or an object with its content. */
function contentOf(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (typeof value === 'object' && value !== null && 'content' in value && typeof value.content === 'string') {
    return value.content;
  }
  return null;
}

function tokenIdOf(tokenizer: Tokenizer, value: unknown): number | null {
  const content = contentOf(value);
  return content === null ? null : tokenizer.tokenToId(content);
}

function specialTexts(config: TokenizerConfigJson, data: VocabularyData, card: ModelCard): SpecialTokenTexts {
  const spec = card.tokenizer;
  return {
    bos: contentOf(config['bos_token']) ?? textOfToken(data, spec?.bosTokenId),
    eos: contentOf(config['eos_token']) ?? textOfToken(data, spec?.eosTokenIds[0]),
    unk: contentOf(config['unk_token']) ?? '',
    pad: contentOf(config['pad_token']) ?? '',
  };
}

function templateOf(config: TokenizerConfigJson): string {
  const template = config['chat_template'];
  if (typeof template === 'string') return template;
  if (!Array.isArray(template)) return '';
  const named: { name?: unknown; template?: unknown } | undefined = template.find((entry) => entry?.name === 'default');
  return typeof named?.template === 'string' ? named.template : '';
}
