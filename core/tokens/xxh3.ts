/**
 * XXH3-64 with a seed in plain TypeScript, after the specification of xxHash 0.8 (doc/xxhash_spec.md). Slow: the native
 * hash is checked against it, and it serves where no addon can run.
 */
export function xxh3(input: Uint8Array, seed = 0n): bigint {
  const n = input.length;
  if (n <= 16) return short(input, n, seed);
  if (n <= 128) return upTo128(input, n, seed);
  if (n <= 240) return upTo240(input, n, seed);
  return long(input, n, seed);
}

const mask = 0xffffffffffffffffn;
const prime32 = [0x9e3779b1n, 0x85ebca77n, 0xc2b2ae3dn] as const;
const prime64 = [
  0x9e3779b185ebca87n,
  0xc2b2ae3d27d4eb4fn,
  0x165667b19e3779f9n,
  0x85ebca77c2b2ae63n,
  0x27d4eb2f165667c5n,
] as const;
const mix1 = 0x165667919e3779f9n;
const mix2 = 0x9fb21c651e98df25n;

const secret = fromHex(
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221' +
    'b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' +
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb' +
    '170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
);

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function read(bytes: Uint8Array, at: number, size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i] ?? 0);
  return value;
}

const read64 = (bytes: Uint8Array, at: number): bigint => read(bytes, at, 8);
const u64 = (value: bigint): bigint => value & mask;
const rotate = (value: bigint, by: bigint): bigint => u64((value << by) | (value >> (64n - by)));

function swap(value: bigint, size: number): bigint {
  let swapped = 0n;
  for (let i = 0; i < size; i++) swapped = (swapped << 8n) | ((value >> BigInt(8 * i)) & 0xffn);
  return swapped;
}

function fold(a: bigint, b: bigint): bigint {
  const product = a * b;
  return u64(product) ^ (product >> 64n);
}

function avalanche(value: bigint): bigint {
  const mixed = u64((value ^ (value >> 37n)) * mix1);
  return mixed ^ (mixed >> 32n);
}

function avalanche64(value: bigint): bigint {
  let h = u64((value ^ (value >> 33n)) * prime64[1]);
  h = u64((h ^ (h >> 29n)) * prime64[2]);
  return h ^ (h >> 32n);
}

function short(input: Uint8Array, n: number, seed: bigint): bigint {
  if (n === 0) return avalanche64(seed ^ read64(secret, 56) ^ read64(secret, 64));
  if (n <= 3) {
    const [first, middle, last] = [input[0] ?? 0, input[n >> 1] ?? 0, input[n - 1] ?? 0];
    const combined = (BigInt(first) << 16n) | (BigInt(middle) << 24n) | BigInt(last) | (BigInt(n) << 8n);
    return avalanche64(combined ^ u64((read(secret, 0, 4) ^ read(secret, 4, 4)) + seed));
  }
  if (n <= 8) {
    const seeded = seed ^ (swap(seed & 0xffffffffn, 4) << 32n);
    const flip = u64((read64(secret, 8) ^ read64(secret, 16)) - seeded);
    let h = (read(input, n - 4, 4) + (read(input, 0, 4) << 32n)) ^ flip;
    h ^= rotate(h, 49n) ^ rotate(h, 24n);
    h = u64(h * mix2);
    h = u64((h ^ ((h >> 35n) + BigInt(n))) * mix2);
    return h ^ (h >> 28n);
  }
  const low = read64(input, 0) ^ u64((read64(secret, 24) ^ read64(secret, 32)) + seed);
  const high = read64(input, n - 8) ^ u64((read64(secret, 40) ^ read64(secret, 48)) - seed);
  return avalanche(u64(BigInt(n) + swap(low, 8) + high + fold(low, high)));
}

function mix16(input: Uint8Array, at: number, secretAt: number, seed: bigint): bigint {
  const low = read64(input, at) ^ u64(read64(secret, secretAt) + seed);
  const high = read64(input, at + 8) ^ u64(read64(secret, secretAt + 8) - seed);
  return fold(low, high);
}

function upTo128(input: Uint8Array, n: number, seed: bigint): bigint {
  let acc = BigInt(n) * prime64[0];
  for (let i = (n - 1) >> 5; i >= 0; i--) {
    acc += mix16(input, 16 * i, 32 * i, seed) + mix16(input, n - 16 * (i + 1), 32 * i + 16, seed);
  }
  return avalanche(u64(acc));
}

function upTo240(input: Uint8Array, n: number, seed: bigint): bigint {
  let acc = BigInt(n) * prime64[0];
  for (let i = 0; i < 8; i++) acc += mix16(input, 16 * i, 16 * i, seed);
  acc = avalanche(u64(acc));
  for (let i = 8; i < n >> 4; i++) acc += mix16(input, 16 * i, 16 * (i - 8) + 3, seed);
  return avalanche(u64(acc + mix16(input, n - 16, 136 - 17, seed)));
}

const stripe = 64;
const stripesPerBlock = (192 - stripe) / 8;

function long(input: Uint8Array, n: number, seed: bigint): bigint {
  const seeded = seededSecret(seed);
  const acc = [prime32[2], prime64[0], prime64[1], prime64[2], prime64[3], prime32[1], prime64[4], prime32[0]];
  const blockLength = stripe * stripesPerBlock;
  const blocks = Math.floor((n - 1) / blockLength);
  for (let block = 0; block < blocks; block++) {
    for (let i = 0; i < stripesPerBlock; i++) accumulate(acc, input, block * blockLength + i * stripe, seeded, 8 * i);
    scramble(acc, seeded, 192 - stripe);
  }
  const stripes = Math.floor((n - 1 - blocks * blockLength) / stripe);
  for (let i = 0; i < stripes; i++) accumulate(acc, input, blocks * blockLength + i * stripe, seeded, 8 * i);
  accumulate(acc, input, n - stripe, seeded, 192 - stripe - 7);
  return merge(acc, seeded, u64(BigInt(n) * prime64[0]));
}

function seededSecret(seed: bigint): Uint8Array {
  const bytes = new Uint8Array(192);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 192; i += 16) {
    view.setBigUint64(i, u64(read64(secret, i) + seed), true);
    view.setBigUint64(i + 8, u64(read64(secret, i + 8) - seed), true);
  }
  return bytes;
}

function accumulate(acc: bigint[], input: Uint8Array, at: number, key: Uint8Array, keyAt: number): void {
  for (let lane = 0; lane < 8; lane++) {
    const value = read64(input, at + lane * 8);
    const keyed = value ^ read64(key, keyAt + lane * 8);
    acc[lane ^ 1] = u64((acc[lane ^ 1] ?? 0n) + value);
    acc[lane] = u64((acc[lane] ?? 0n) + (keyed & 0xffffffffn) * (keyed >> 32n));
  }
}

function scramble(acc: bigint[], key: Uint8Array, keyAt: number): void {
  for (let lane = 0; lane < 8; lane++) {
    const value = acc[lane] ?? 0n;
    acc[lane] = u64((value ^ (value >> 47n) ^ read64(key, keyAt + lane * 8)) * prime32[0]);
  }
}

function merge(acc: readonly bigint[], key: Uint8Array, start: bigint): bigint {
  let result = start;
  for (let i = 0; i < 4; i++) {
    const low = (acc[2 * i] ?? 0n) ^ read64(key, 11 + 16 * i);
    const high = (acc[2 * i + 1] ?? 0n) ^ read64(key, 11 + 16 * i + 8);
    result = u64(result + fold(low, high));
  }
  return avalanche(result);
}
