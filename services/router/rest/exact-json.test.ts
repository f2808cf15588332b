import { expect } from 'chai';
import { exactJson, parseExactJson } from './exact-json.ts';

describe('exact JSON', () => {
  it('keeps every bit of an integer', () => {
    const text = '{"worker_id":18446744073709551615,"hashes":[-9223372036854775808,7],"rate":0.5,"big":1e300}';
    const value = parseExactJson(text);
    expect(value).to.deep.equal({
      worker_id: 18446744073709551615n,
      hashes: [-9223372036854775808n, 7],
      rate: 0.5,
      big: 1e300,
    });
    expect(exactJson(value)).to.equal(text.replace('1e300', '1e+300'));
  });

  it('refuses what is no JSON', () => {
    expect(() => parseExactJson('{"a":')).to.throw(SyntaxError);
  });
});
