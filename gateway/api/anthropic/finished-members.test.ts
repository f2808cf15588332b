import { expect } from 'chai';
import { finishedMembers } from './finished-members.ts';

describe('finishedMembers', () => {
  const whole = '{"a": "x,}\\"", "b": [1, {"c": "]"}], "d": 12, "e": null}';

  it('keeps what is whole, wherever the text ends', () => {
    for (let end = 0; end <= whole.length; end++) {
      const kept = JSON.parse(finishedMembers(whole.slice(0, end))) as Record<string, unknown>;
      const all = JSON.parse(whole) as Record<string, unknown>;
      for (const [key, value] of Object.entries(kept)) expect(value, `${end} ${key}`).to.deep.equal(all[key]);
    }
    expect(JSON.parse(finishedMembers(whole))).to.deep.equal(JSON.parse(whole));
  });

  it('does not take the beginning of a number for a number', () => {
    expect(finishedMembers('{"a": 1, "b": 2')).to.equal('{"a": 1}');
    expect(finishedMembers('{"a": 1, "b": 2,')).to.equal('{"a": 1, "b": 2}');
  });

  it('makes an empty object of what is none', () => {
    for (const text of ['', '[1]', '"a"', '{', '{x, y', 'null']) expect(finishedMembers(text), text).to.equal('{}');
  });
});
