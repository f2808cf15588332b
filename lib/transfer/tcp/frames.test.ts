import { expect } from 'chai';
import { encodeFrame, FrameReader, frameAround, frameTypes } from './frames.ts';

/** What a reader gives for bytes that come in chunks of these sizes, in turn. One buffer carries them all, as a socket's does. */
function read(stream: Buffer, sizes: readonly number[]): string[] {
  const seen: string[] = [];
  let data = '';
  const reader = new FrameReader({
    data: (id, bytes) => {
      data += `${id}:${bytes.toString('latin1')}`;
    },
    frame: ({ type, id, payload }) => {
      if (data !== '') seen.push(data.replaceAll(/(?<=.)\d+:/g, ''));
      data = '';
      seen.push(`${type} ${id} ${payload.toString('latin1')}`);
    },
  });
  const carrier = Buffer.alloc(Math.max(...sizes));
  for (let at = 0, turn = 0; at < stream.length; turn++) {
    const size = Math.min(sizes[turn % sizes.length] ?? 1, stream.length - at);
    stream.copy(carrier, 0, at, at + size);
    reader.push(carrier.subarray(0, size));
    carrier.fill(0xee);
    at += size;
  }
  return seen;
}

const stream = Buffer.concat([
  encodeFrame(frameTypes.hello, 0, Buffer.from('token')),
  encodeFrame(frameTypes.data, 7, Buffer.from('abcdefghij')),
  encodeFrame(frameTypes.end, 7, Buffer.alloc(0)),
  encodeFrame(frameTypes.notify, 0xffff_ffff, Buffer.from('x')),
]);

describe('frames of transfers', () => {
  it('come out the same, however the bytes are cut', () => {
    for (const sizes of [[1], [2, 3], [7], [9, 1, 4], [1000]])
      expect(read(stream, sizes), String(sizes)).to.deep.equal(['1 0 token', '7:abcdefghij', '6 7 ', '9 4294967295 x']);
  });

  it('may be sent in parts', () => {
    const parts = [Buffer.from('ab'), Buffer.alloc(0), Buffer.from('cde')];
    const [head, tail] = frameAround(frameTypes.notify, 5, parts);
    expect(Buffer.concat([head, ...parts, tail])).to.deep.equal(
      encodeFrame(frameTypes.notify, 5, Buffer.from('abcde')),
    );
  });

  it('are refused when a byte of them is another, but for data', () => {
    const frame = encodeFrame(frameTypes.notify, 5, Buffer.from('abc'));
    for (let at = 4; at < frame.length; at++) {
      const damaged = Buffer.from(frame);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      expect(() => read(damaged, [3]), String(at)).to.throw(/checksum is wrong/);
    }
    const huge = Buffer.alloc(9);
    huge.writeUInt32LE(1 << 30, 0);
    expect(() => read(huge, [9])).to.throw(/length is impossible/);
    expect(() => read(Buffer.alloc(9), [9])).to.throw(/length is impossible/);
    const data = encodeFrame(frameTypes.data, 5, Buffer.from('abc'));
    data[5] = 6;
    expect(() => read(data, [64])).to.throw(/checksum is wrong/);
  });
});
