import { expect } from 'chai';
import { LiveOutputs } from './live-outputs.ts';

const shape = { ids: Float64Array.of(1, 7, 2), lengths: Uint32Array.of(2, 3, 1) };

function filled(outputs: LiveOutputs): number[] {
  const tokens = Uint32Array.of(1, 2, 3, 4, 5, 6);
  outputs.fill(shape, tokens);
  return [...tokens];
}

describe('LiveOutputs', () => {
  it('puts what was answered in the place of its stand-in', () => {
    const outputs = new LiveOutputs();
    expect(filled(outputs)).to.deep.equal([1, 2, 3, 4, 5, 6]);
    outputs.keep(7, [70, 71, 72]);
    expect(filled(outputs)).to.deep.equal([1, 2, 70, 71, 72, 6]);
  });

  it('leaves the stand-in where the answer was shorter or longer', () => {
    const outputs = new LiveOutputs();
    outputs.keep(7, [70]);
    expect(filled(outputs)).to.deep.equal([1, 2, 70, 4, 5, 6]);
    outputs.keep(7, [80, 81, 82, 83, 84]);
    expect(filled(outputs)).to.deep.equal([1, 2, 80, 81, 82, 6]);
  });

  it('forgets the oldest beyond its bound', () => {
    const outputs = new LiveOutputs(4);
    outputs.keep(7, [70, 71, 72]);
    outputs.keep(8, [80, 81]);
    expect(filled(outputs)).to.deep.equal([1, 2, 3, 4, 5, 6]);
  });
});
