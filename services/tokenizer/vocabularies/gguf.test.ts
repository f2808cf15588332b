import { expect } from 'chai';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import { createTokenTable } from '#core/tokens/token-table.ts';
import { skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import { tokenizerMetrics } from '../metrics.ts';
import { SegmentCache } from '../segment-cache.ts';
import { CachedEncoder } from '../text-encoder.ts';
import type { Vocabulary } from '../vocabulary.ts';
import { loadGguf } from './gguf.ts';

const withModel = smolLm2 === undefined ? describe.skip : describe;

withModel(`the vocabulary of a GGUF file${skippedBecause}`, () => {
  let vocabulary: Vocabulary;
  before(async () => {
    vocabulary = await loadGguf(smolLm2 ?? '');
  });
  after(() => vocabulary.close());

  const piece = fc.oneof(
    fc.constantFrom('<|im_start|>', '<|im_end|>', '<|endoftext|>', '<|', '\n', ' ', ' the', '东京', '👨‍👩‍👧'),
    fc.string({ unit: 'grapheme', maxLength: 8 }),
  );

  it('gives the same ids with and without the cache', async () => {
    const metrics = tokenizerMetrics(new Registry());
    const encoder = new CachedEncoder(vocabulary, new SegmentCache({ maxBytes: 4096, metrics }), 'v');
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 16 }), async (pieces) => {
        const text = pieces.join('');
        const plain = await vocabulary.encoder.encode(text);
        expect((await encoder.encode(text)).ids).to.deep.equal(plain);
        expect((await encoder.encode(text)).ids, 'second time').to.deep.equal(plain);
      }),
      { numRuns: 300 },
    );
  });

  it('decodes what it encoded', async () => {
    const table = createTokenTable({ ...vocabulary.data, eosTokenIds: [] });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 16 }), async (pieces) => {
        const text = pieces.join('');
        const detokenizer = new Detokenizer(table, { specialTokens: true });
        const ids = await vocabulary.encoder.encode(text);
        expect(Array.from(ids, (id) => detokenizer.push(id)).join('') + detokenizer.end()).to.equal(text);
      }),
      { numRuns: 300 },
    );
  });
});
