import { createHash } from 'node:crypto';
import type { Encoder } from '../encoder.ts';
import type { Vocabulary } from '../vocabulary.ts';

/** Ids before those of the bytes: padding, begin, end. */
const firstByteId = 3;
const names = ['<pad>', '<s>', '</s>'] as const;

class ByteEncoder implements Encoder {
  readonly #utf8 = new TextEncoder();

  async encode(text: string): Promise<Uint32Array> {
    return Uint32Array.from(this.#utf8.encode(text), (byte) => byte + firstByteId);
  }
}

/** The synthetic engine's vocabulary: one id for each byte. Nothing written in a text is a special token. */
export function bytesVocabulary(): Vocabulary {
  const special = names.map((name) => new TextEncoder().encode(name));
  const bytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const offsets = [0];
  for (const token of [...special, ...bytes]) offsets.push((offsets.at(-1) ?? 0) + token.length);
  return {
    encoder: new ByteEncoder(),
    data: {
      data: Buffer.concat([...special, ...bytes]),
      offsets,
      specialTokenIds: [0, 1, 2],
      stripLeadingSpace: false,
    },
    addedTokens: [],
    specialTexts: { bos: names[1], eos: names[2], unk: '', pad: names[0] },
    prefixIds: new Uint32Array(0),
    suffixIds: new Uint32Array(0),
    bosTokenId: 1,
    eosTokenIds: [2],
    digest: createHash('sha256').update('stator bytes vocabulary').digest(),
    chatTemplate: '',
    close: () => {},
  };
}
