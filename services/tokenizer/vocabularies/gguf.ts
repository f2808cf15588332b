import { createHash } from 'node:crypto';
import type { AddedToken, VocabularyData } from '#core/tokens/tokenizer-json.ts';
import { StatorError } from '#lib/errors/errors.ts';
import {
  type ModelHandle,
  modelFree,
  tokenAttributes,
  type VocabTable,
  vocabLoad,
  vocabTokenBytes,
  vocabTokenize,
} from '#native/llamacpp/index.ts';
import type { Encoder } from '../encoder.ts';
import { textOfToken, type Vocabulary } from '../vocabulary.ts';

class GgufEncoder implements Encoder {
  readonly #model: ModelHandle;

  constructor(model: ModelHandle) {
    this.#model = model;
  }

  encode(text: string): Promise<Uint32Array> {
    return vocabTokenize(this.#model, text, { addSpecial: false, parseSpecial: true });
  }
}

/** Loads the vocabulary inside a GGUF file. Throws `invalid_argument` for a file that is none. */
export async function loadGguf(path: string): Promise<Vocabulary> {
  const model = await vocabLoad(path).catch((cause: Error) => {
    throw StatorError.invalid('tokenizer', `The GGUF vocabulary cannot be used: ${cause.message}`, { cause });
  });
  const table = vocabTokenBytes(model);
  const encoder = new GgufEncoder(model);
  const data = await vocabularyOf(table, encoder);
  const { special } = table;
  const text = (id: number | null): string => textOfToken(data, id);
  return {
    encoder,
    data,
    addedTokens: addedTokensOf(table, data),
    specialTexts: { bos: text(special.bos), eos: text(special.eos), unk: '', pad: text(special.pad) },
    prefixIds: around(table.addBos, special.bos),
    suffixIds: around(table.addEos, special.eos),
    bosTokenId: special.bos,
    eosTokenIds: [...table.endOfGeneration],
    digest: createHash('sha256').update(table.type).update(table.data).update(bytesOf(table.scores)).digest(),
    chatTemplate: table.chatTemplate ?? '',
    close: () => modelFree(model),
  };
}

async function vocabularyOf(table: VocabTable, encoder: Encoder): Promise<VocabularyData> {
  const [first] = await encoder.encode('a');
  const offsets = Array.from(table.offsets);
  const start = first === undefined ? undefined : table.data[offsets[first] ?? 0];
  return {
    data: table.data,
    offsets,
    specialTokenIds: idsWith(table, tokenAttributes.control | tokenAttributes.unknown),
    // SentencePiece vocabularies put a space before the first word; decoding takes it away again.
    stripLeadingSpace: table.type === 'spm' && start === 0x20,
  };
}

/** llama.cpp's bits for tokens that take the spaces around them, or stand only between words. */
const inexact = 128 | 256 | 512;

function addedTokensOf(table: VocabTable, data: VocabularyData): AddedToken[] {
  return idsWith(table, tokenAttributes.control | tokenAttributes.userDefined).map((id) => {
    const attributes = table.attributes[id] ?? 0;
    const special = (attributes & tokenAttributes.control) !== 0;
    return { id, text: textOfToken(data, id), special, exact: (attributes & inexact) === 0 };
  });
}

function idsWith(table: VocabTable, mask: number): number[] {
  const ids: number[] = [];
  for (const [id, attributes] of table.attributes.entries()) if ((attributes & mask) !== 0) ids.push(id);
  return ids;
}

function around(added: boolean, id: number | null): Uint32Array {
  return added && id !== null ? Uint32Array.of(id) : new Uint32Array(0);
}

function bytesOf(array: Float32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
