/** Fills memory with bytes that follow from a seed, so that two processes can hold the same without sending it. */
export function fillPattern(buffer: Uint8Array, seed: number): void {
  const words = new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.byteLength >> 2);
  const next = randomFrom(seed);
  for (let index = 0; index < words.length; index += 1) words[index] = next(0xffff_ffff);
}

/** Whole numbers below a bound, the same for the same seed (mulberry32). */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000) * below);
  };
}
