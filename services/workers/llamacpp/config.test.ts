import { expect } from 'chai';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { Pooling } from '#gen/stator/model/v1/model_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { defaultName } from './card.ts';
import { engineOptions, llamacppSettings } from './config.ts';
import { KvMirror } from './kv-mirror.ts';
import { poolingOf } from './pooling.ts';

describe('llamacpp worker: configuration', () => {
  it('needs a model and gives one engine to each', () => {
    const settings = defaultSettings(llamacppSettings);
    expect(() => engineOptions(settings)).to.throw('no model');
    const two = engineOptions({ ...settings, model: ['/a.gguf', '/b.gguf'], modelName: ['first'] });
    expect(two.map(({ name, modelPath }) => [name, modelPath])).to.deep.equal([
      ['first', '/a.gguf'],
      [undefined, '/b.gguf'],
    ]);
    expect(() => engineOptions({ ...settings, model: ['/a.gguf'], modelName: ['a', 'b'] })).to.throw('more names');
  });

  it('refuses parsers that do not exist', () => {
    const settings = { ...defaultSettings(llamacppSettings), model: ['/a.gguf'] };
    expect(() => engineOptions({ ...settings, toolCallParser: 'hermez' })).to.throw('There is no parser hermez');
    expect(() => engineOptions({ ...settings, reasoningParser: 'thinker' })).to.throw('There is no parser thinker');
    const named = engineOptions({ ...settings, toolCallParser: 'none', reasoningParser: 'qwen3' });
    expect(named[0]).to.include({ toolCallParser: 'none', reasoningParser: 'qwen3' });
  });

  it('names a model after its file', () => {
    expect(defaultName('/x/SmolLM2-135M-Instruct.Q4_1.gguf')).to.equal('SmolLM2-135M-Instruct');
    expect(defaultName('/x/Qwen3-8B-Q4_K_M-00001-of-00003.gguf')).to.equal('Qwen3-8B');
    expect(defaultName('model.gguf')).to.equal('model');
  });

  it('finds out what a model pools', () => {
    const bert = { 'general.architecture': 'bert', 'bert.pooling_type': '2', 'bert.attention.causal': 'false' };
    expect(poolingOf('auto', bert)).to.equal(Pooling.CLS);
    expect(poolingOf('auto', { ...bert, 'bert.pooling_type': '0' })).to.equal(Pooling.MEAN);
    expect(poolingOf('auto', { 'general.architecture': 'llama' })).to.equal(undefined);
    expect(poolingOf('none', bert)).to.equal(undefined);
    expect(poolingOf('last', {})).to.equal(Pooling.LAST);
  });

  it('mirrors changes and lists them parents first', () => {
    const mirror = new KvMirror();
    const stored = (parent: bigint | null, startBlock: number, ...hashes: bigint[]) =>
      mirror.apply({
        stored: true,
        parent,
        startBlock,
        sequenceHashes: BigUint64Array.from(hashes),
        localHashes: BigUint64Array.from(hashes, (hash) => hash * 10n),
      });
    stored(null, 0, 1n, 2n, 3n);
    stored(2n, 2, 4n);
    mirror.apply({
      stored: false,
      parent: null,
      startBlock: 0,
      sequenceHashes: BigUint64Array.of(3n),
      localHashes: new BigUint64Array(),
    });
    stored(2n, 2, 5n);
    const values = mirror
      .snapshot()
      .map(({ change }) => (change.case === 'stored' ? change.value : expect.fail('not stored')));
    expect(
      values.map((value) => [
        value.parentSequenceHash,
        value.startBlock,
        [...unpackHashes(value.sequenceHashes)],
        [...unpackHashes(value.localHashes)],
      ]),
    ).to.deep.equal([
      [undefined, 0, [1n, 2n], [10n, 20n]],
      [2n, 2, [5n], [50n]],
      [2n, 2, [4n], [40n]],
    ]);
  });
});
