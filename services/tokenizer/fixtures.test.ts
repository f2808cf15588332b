import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { Detokenizer } from '#core/tokens/detokenizer.ts';
import { createTokenTable } from '#core/tokens/token-table.ts';
import { tokenizerMetrics } from './metrics.ts';
import { SegmentCache } from './segment-cache.ts';
import { type PackagedModel, packagedCard, packagedFile, packagedModels } from './testing/models.ts';
import { CachedEncoder, concatenateIds } from './text-encoder.ts';
import { loadHuggingFace } from './vocabularies/hugging-face.ts';
import type { Vocabulary } from './vocabulary.ts';

interface Row {
  readonly count: number;
  readonly ids: number[] | string;
  readonly special: string;
  readonly decoded: string;
  readonly decodedSpecial: string;
}

const folder = new URL('../../tests/fixtures/tokenizers/', import.meta.url);
const readJson = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
const corpus: string[] = readJson('corpus.json');

const digest = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex').slice(0, 24);
const idsDigest = (ids: Uint32Array): string => digest(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));

/** The same text as sweep_text in tests/fixtures/reference/encode.py. */
function sweepText(first: number): string {
  let text = '';
  for (let point = first; point < first + sweepSize; point++) {
    if (point >= 0xd800 && point < 0xe000) continue;
    const c = String.fromCodePoint(point);
    text += `a${c}b ${c}${c} 1${c}2 .${c}!${c}\n${c}a`;
  }
  return text;
}

const sweepSize = 128;
const sweepRanges = [
  [0, 0x20000],
  [0x2a600, 0x2a800],
  [0x31300, 0x31500],
  [0xe0000, 0xe0200],
] as const;

function load(model: PackagedModel): Promise<Vocabulary> {
  const tokenizerConfig = packagedFile(model, 'tokenizer_config.json');
  return loadHuggingFace(
    { tokenizerJson: packagedFile(model, 'tokenizer.json'), tokenizerConfig },
    packagedCard(model),
  );
}

for (const model of packagedModels) {
  describe(`the tokenizer of ${model}`, () => {
    const fixture: { corpus: Row[]; sweep: string } = readJson(`${model}.json`);
    const metrics = tokenizerMetrics(new Registry());
    let vocabulary: Vocabulary;
    before(async function () {
      this.timeout(60_000);
      vocabulary = await load(model);
    });

    it('gives the ids of Python', async () => {
      const cached = new CachedEncoder(vocabulary, new SegmentCache({ maxBytes: 1 << 20, metrics }), 'v');
      expect(fixture.corpus).to.have.length(corpus.length);
      for (const [i, text] of corpus.entries()) {
        const row = fixture.corpus[i];
        const ids = await vocabulary.encoder.encode(text);
        expect(Array.isArray(row?.ids) ? Array.from(ids) : idsDigest(ids), text).to.deep.equal(row?.ids);
        expect((await cached.encode(text)).ids, `${text} through the cache`).to.deep.equal(ids);
        const special = concatenateIds([vocabulary.prefixIds, ids, vocabulary.suffixIds]);
        expect(idsDigest(special), `${text} with special tokens`).to.equal(row?.special);
      }
    }).timeout(60_000);

    it('gives the text of Python', async () => {
      const table = createTokenTable({ ...vocabulary.data, eosTokenIds: [] });
      for (const [i, text] of corpus.entries()) {
        const ids = await vocabulary.encoder.encode(text);
        for (const specialTokens of [false, true]) {
          const detokenizer = new Detokenizer(table, { specialTokens });
          const decoded = Array.from(ids, (id) => detokenizer.push(id)).join('') + detokenizer.end();
          const row = fixture.corpus[i];
          expect(digest(decoded), text).to.equal(specialTokens ? row?.decodedSpecial : row?.decoded);
        }
      }
    }).timeout(60_000);

    it('gives the ids of Python for code points of every kind', async () => {
      let at = 0;
      for (const [start, end] of sweepRanges) {
        for (let first = start; first < end; first += sweepSize, at += 8) {
          // Each model takes another quarter of the ranges, so that all are met and the suite stays quick.
          if ((first / sweepSize + packagedModels.indexOf(model)) % 4 !== 0) continue;
          const ids = await vocabulary.encoder.encode(sweepText(first));
          const expected = fixture.sweep.slice(at, at + 8);
          expect(idsDigest(ids).slice(0, 8), `from U+${first.toString(16)}`).to.equal(expected);
        }
      }
      expect(at).to.equal(fixture.sweep.length);
    }).timeout(120_000);

    it('gives the same ids with and without the cache', async () => {
      const encoder = new CachedEncoder(vocabulary, new SegmentCache({ maxBytes: 4096, metrics }), 'v');
      const special = vocabulary.addedTokens.map((token) => token.text);
      const piece = fc.oneof(
        fc.constantFrom(...special.slice(0, 40), ...special.slice(-40)),
        fc.constantFrom(' ', '\n', '<|', '<', '>', ' the', 'ing', 'é', '😀', '１', "'s", '▁'),
        fc.string({ unit: 'grapheme', maxLength: 6 }),
        fc.constantFrom(...special).map((token) => token.slice(1)),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(piece, { maxLength: 24 }), async (pieces) => {
          const text = pieces.join('');
          const plain = await vocabulary.encoder.encode(text);
          expect((await encoder.encode(text)).ids).to.deep.equal(plain);
          expect((await encoder.encode(text)).ids, 'second time').to.deep.equal(plain);
        }),
        { numRuns: 300 },
      );
    }).timeout(60_000);
  });
}
