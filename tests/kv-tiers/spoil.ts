import { closeSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import type { Random } from '#core/kv-index/testing/random.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { pageBytes } from '#services/kvbm/layout.ts';
import { decodeShape } from '#services/kvbm/slab-shape.ts';

/** Flips a byte of the first written block of a slab behind the block manager's back; false: there is none. */
export function spoilBlock(folder: string): boolean {
  return spoil(folder, (slots) => Array.from({ length: slots }, (_, slot) => slot), 1) === 1;
}

/** Flips a byte in that part of the written blocks. */
export function corruptSlabs(folder: string, random: Random, part: number): void {
  const all = (slots: number): number[] => Array.from({ length: slots }, (_, slot) => slot);
  spoil(folder, (slots) => all(slots).filter(() => random.next() < part), Number.POSITIVE_INFINITY);
}

function spoil(folder: string, slotsOf: (slots: number) => readonly number[], most: number): number {
  const name = readdirSync(folder).find((file) => file.endsWith('.slab'));
  if (name === undefined) return 0;
  const fd = openSync(path.join(folder, name), 'r+');
  try {
    const page = Buffer.alloc(pageBytes);
    readSync(fd, page, 0, page.length, 0);
    const shape = decodeShape(page, (bytes) => xxh3(bytes));
    if (shape === undefined) return 0;
    const byte = Buffer.alloc(1);
    let spoilt = 0;
    for (const slot of slotsOf(shape.slots)) {
      const at = shape.slotsOffset + slot * shape.slotBytes + pageBytes + 1000;
      readSync(fd, byte, 0, 1, at);
      if (byte[0] === 0 || spoilt === most) continue;
      byte[0] = ~(byte[0] ?? 0);
      writeSync(fd, byte, 0, 1, at);
      spoilt++;
    }
    return spoilt;
  } finally {
    closeSync(fd);
  }
}
