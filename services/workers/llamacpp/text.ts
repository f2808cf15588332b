import { createTokenTable } from '#core/tokens/token-table.ts';
import { type ModelHandle, tokenAttributes, type VocabTable, vocabTokenizeNow } from '#native/llamacpp/index.ts';
import type { EngineText } from '../common/engine.ts';

/** Text of direct clients both ways, from the vocabulary in the weights. */
export function engineText(model: ModelHandle, vocab: VocabTable): EngineText {
  const special = tokenAttributes.control | tokenAttributes.unknown;
  const specialTokenIds = Array.from(vocab.attributes.keys()).filter(
    (id) => ((vocab.attributes[id] ?? 0) & special) !== 0,
  );
  const encode = (text: string): Uint32Array => vocabTokenizeNow(model, text, { addSpecial: true, parseSpecial: true });
  const [first] = vocabTokenizeNow(model, 'a', { addSpecial: false, parseSpecial: false });
  const start = first === undefined ? undefined : vocab.data[vocab.offsets[first] ?? 0];
  const table = createTokenTable({
    data: vocab.data,
    offsets: [...vocab.offsets],
    specialTokenIds,
    eosTokenIds: [...vocab.endOfGeneration],
    // SentencePiece vocabularies put a space before the first word; decoding takes it away again.
    stripLeadingSpace: vocab.type === 'spm' && start === 0x20,
  });
  return { table, encode };
}
