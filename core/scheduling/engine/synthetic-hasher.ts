import type { OutputHasher } from './settings.ts';

/** For simulations without tokens: every block of output has a hash of its own, the same for the same seed. */
export function syntheticOutputHasher(seed: number): OutputHasher {
  return {
    hash(id, index, parentLow, parentHigh, into) {
      const low = mix(mix(mix(seed ^ 0x9e3779b9, id), index), parentLow);
      into[0] = low;
      into[1] = mix(mix(low ^ 0x85ebca6b, parentHigh), id);
      into[2] = mix(low, 0x27d4eb2f);
      into[3] = mix(low, 0x165667b1);
    },
  };
}

/** The finaliser of MurmurHash3. */
function mix(state: number, value: number): number {
  let h = Math.imul(state ^ Math.imul(value + 0x7f4a7c15, 0xcc9e2d51), 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
