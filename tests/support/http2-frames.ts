/** Frames of HTTP/2 (RFC 9113), made by hand: libraries send none that are meant to hurt. */

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export const frameType = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, continuation: 9 } as const;
export const flag = { none: 0, endStream: 1, endHeaders: 4 } as const;

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = new Uint8Array()): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** The header block of a GET: indexed fields of the static table, then literals that enter no table (RFC 7541). */
export function getBlock(path: string, more: readonly (readonly [string, string])[] = []): Buffer {
  const parts = [Buffer.of(0x82, 0x86, 0x04), text(path), Buffer.of(0x01), text('x')];
  for (const [name, value] of more) parts.push(Buffer.of(0x00), text(name), text(value));
  return Buffer.concat(parts);
}

/** A field that enters the dynamic table, and a reference to the newest entry of it. */
export function tableBomb(name: string, value: string, references: number): Buffer {
  return Buffer.concat([Buffer.of(0x40), text(name), text(value), Buffer.alloc(references, 0x80 | 62)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([length(bytes.length), bytes]);
}

/** A length in HPACK's integers of seven bits. */
function length(value: number): Buffer {
  if (value < 127) return Buffer.of(value);
  const out = [127];
  let rest = value - 127;
  while (rest >= 128) {
    out.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...out, rest]);
}
