import { expect } from 'chai';
import fc from 'fast-check';
import { readPublished, readReplayed, replayRequest } from './frames.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const five = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 5);
const end = new Uint8Array(8).fill(0xff);
const empty = new Uint8Array(0);

describe('frames of a numbered publisher', () => {
  it('are topic, number and payload', () => {
    const payload = text('x');
    expect(readPublished([empty, five, payload])).to.deep.equal({ sequence: 5, payload });
    expect(readPublished([text('kv-events'), five, payload])).to.deep.equal({ sequence: 5, payload });
    for (const frames of [[], [five], [empty, five], [empty, payload, payload], [empty, end, payload]])
      expect(readPublished(frames)).to.equal(null);
    expect(readPublished([empty, five, payload, payload])).to.equal(null);
  });

  it('come back in a replay with or without what is before the number', () => {
    const payload = text('12345678');
    for (const before of [[], [empty], [empty, text('topic')], [empty, text('eight-by')]]) {
      expect(readReplayed([...before, five, payload])).to.deep.equal({ sequence: 5, payload });
      expect(readReplayed([...before, end, empty])).to.equal('end');
    }
    for (const frames of [[], [five], [empty, payload.subarray(1), payload], [empty, empty, empty, five, payload]])
      expect(readReplayed(frames)).to.equal(null);
  });

  it('ask for a replay by number', () => {
    expect(replayRequest(5)).to.deep.equal([empty, five]);
  });

  it('never throw', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 6 }), (frames) => {
        readPublished(frames);
        readReplayed(frames);
      }),
    );
  });
});
