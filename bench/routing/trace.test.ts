import { expect } from 'chai';
import { conversations, traceBlockTokens } from './trace.ts';

describe('trace of the routing benchmark', () => {
  it('repeats for a seed, in order of time, each prompt with exactly its blocks', () => {
    const rows = [...conversations(300, 7)];
    expect([...conversations(300, 7)]).to.deep.equal(rows);
    expect(rows).to.have.length(300);
    let beforeMs = 0;
    for (const { arrivalMs = -1, prompt, promptTokens, outputTokens } of rows) {
      expect(arrivalMs).to.be.at.least(beforeMs);
      beforeMs = arrivalMs;
      expect(prompt.ids).to.have.length(Math.ceil(promptTokens / traceBlockTokens));
      expect(prompt.lengths.reduce((sum, length) => sum + length, 0)).to.equal(promptTokens);
      expect(outputTokens).to.be.within(2, 600);
    }
  });

  it('shares prefixes within one trace, and nothing with one of other ids', () => {
    const ids = (firstId: number) => [...conversations(300, 7, firstId)].flatMap(({ prompt }) => [...prompt.ids]);
    const [some, others] = [ids(1), ids(1_000_000)];
    expect(new Set(some).size).to.be.lessThan(some.length * 0.6);
    expect(Math.max(...some)).to.be.lessThan(Math.min(...others));
  });
});
