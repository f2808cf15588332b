import { expect } from 'chai';
import {
  type ModelHandle,
  modelFree,
  modelInfo,
  tokenAttributes,
  vocabLoad,
  vocabTokenBytes,
  vocabTokenize,
  vocabTokenizeNow,
} from './index.ts';
import { skippedBecause, smolLm2 } from './testing/model.ts';

describe(`llama.cpp addon: vocabulary${skippedBecause}`, () => {
  let vocab: ModelHandle;

  before(async function () {
    if (smolLm2 === undefined) return this.skip();
    vocab = await vocabLoad(smolLm2);
  });

  after(() => {
    if (vocab !== undefined) modelFree(vocab);
  });

  function decode(tokens: Uint32Array): string {
    const { data, offsets } = vocabTokenBytes(vocab);
    return Buffer.concat([...tokens].map((token) => data.subarray(offsets[token], offsets[token + 1]))).toString(
      'utf8',
    );
  }

  it('encodes to ids whose bytes are the text', async () => {
    const texts = [
      '',
      'Hello world',
      ' leading',
      'Grüße, 世界 🌍\n\ttabs',
      'a'.repeat(5000),
      '<|im_end|>',
      '\u0000zero',
    ];
    for (const text of texts) {
      const tokens = await vocabTokenize(vocab, text, { addSpecial: false, parseSpecial: false });
      expect(decode(tokens)).to.equal(text);
      expect(vocabTokenizeNow(vocab, text, { addSpecial: false, parseSpecial: false })).to.deep.equal(tokens);
    }
  });

  it('reads special tokens only where asked to', async () => {
    const marked = 'Hi<|im_end|>';
    const parsed = await vocabTokenize(vocab, marked, { addSpecial: false, parseSpecial: true });
    const plain = await vocabTokenize(vocab, marked, { addSpecial: false, parseSpecial: false });
    expect(parsed.at(-1)).to.equal(2);
    expect([...plain]).not.to.include(2);
    expect(decode(plain)).to.equal(marked);
  });

  it('encodes many texts at once', async () => {
    const texts = Array.from({ length: 64 }, (_, index) => `Text number ${index}. `.repeat(index));
    const all = await Promise.all(
      texts.map((text) => vocabTokenize(vocab, text, { addSpecial: true, parseSpecial: true })),
    );
    expect(all.map(decode)).to.deep.equal(texts);
  });

  it('describes the vocabulary', () => {
    const table = vocabTokenBytes(vocab);
    expect(table).to.include({ type: 'bpe', size: 49_152, addBos: false });
    expect(table.offsets).to.have.length(49_153);
    expect(table.offsets.at(-1)).to.equal(table.data.length);
    expect(table.special).to.include({ bos: 1, eos: 2 });
    expect([...table.endOfGeneration]).to.include(2);
    expect((table.attributes[2] ?? 0) & tokenAttributes.control).not.to.equal(0);
    expect(table.chatTemplate).to.include('<|im_start|>');
    expect(modelInfo(vocab).metadata['general.architecture']).to.equal('llama');
  });
});
