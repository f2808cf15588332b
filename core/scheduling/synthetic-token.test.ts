import { expect } from 'chai';
import { byteVocabulary, maxAlternatives, SyntheticModel, syntheticEmbedding } from './synthetic-token.ts';

const neutral = { seed: 0n, adapter: '', meanOutputTokens: 0 };

function continued(prefix: readonly number[], count: number, options = neutral): number[] {
  const model = new SyntheticModel(options);
  for (const token of prefix) model.push(token);
  const tokens: number[] = [];
  while (tokens.length < count) {
    const token = model.next();
    model.push(token);
    tokens.push(token);
  }
  return tokens;
}

describe('SyntheticModel', () => {
  it('continues any prefix as the whole went on', () => {
    const whole = continued([70, 71], 200);
    for (const at of [1, 17, 199]) {
      expect(continued([70, 71, ...whole.slice(0, at)], 200 - at)).to.deep.equal(whole.slice(at));
    }
  });

  it('depends on every token, on the seed and on the adapter', () => {
    const base = continued([70, 71, 72], 40).join();
    expect(continued([69, 71, 72], 40).join()).to.not.equal(base);
    expect(continued([70, 72, 71], 40).join()).to.not.equal(base);
    expect(continued([70, 71, 72], 40, { ...neutral, seed: 1n << 40n }).join()).to.not.equal(base);
    expect(continued([70, 71, 72], 40, { ...neutral, adapter: 'poet' }).join()).to.not.equal(base);
  });

  it('does not run in circles', () => {
    const text = continued([80], 20_000).join(' ');
    expect(text.indexOf(continued([80], 40).join(' '), 1)).to.equal(-1);
  });

  it('ends about as often as it should', () => {
    const model = new SyntheticModel({ ...neutral, meanOutputTokens: 50 });
    let ends = 0;
    for (let i = 0; i < 20_000; i++) {
      if (model.ends) ends++;
      model.push(model.next());
    }
    expect(ends).to.be.within(300, 500);
  });

  it('has probabilities that are distinct tokens, fall, and sum to less than one', () => {
    const model = new SyntheticModel(neutral);
    for (let i = 0; i < 300; i++) {
      const likeliest = model.likeliest(maxAlternatives);
      expect(new Set(likeliest.map(({ tokenId }) => tokenId)).size).to.equal(maxAlternatives);
      expect(likeliest[0]?.tokenId).to.equal(model.next());
      expect(likeliest.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)).to.be.lessThan(1);
      model.push(model.next());
    }
    const unlikely = model.logprobOf(byteVocabulary.size - 1);
    expect(unlikely.logprob).to.be.lessThan(model.likeliest(maxAlternatives).at(-1)?.logprob ?? 0);
  });
});

describe('syntheticEmbedding', () => {
  it('is a vector of length 1 that depends on every token', () => {
    const vector = syntheticEmbedding(Uint32Array.of(1, 2, 3), 32);
    expect([...vector].reduce((sum, value) => sum + value * value, 0)).to.be.closeTo(1, 1e-5);
    expect(syntheticEmbedding(Uint32Array.of(1, 2, 3), 32)).to.deep.equal(vector);
    expect(syntheticEmbedding(Uint32Array.of(1, 3, 2), 32)).to.not.deep.equal(vector);
  });
});
