const utf8 = new TextEncoder();

/** GPT-2's alphabet: every byte as a printable character, the bytes that print themselves unchanged. */
const byteOfCharacter = buildAlphabet();

function buildAlphabet(): ReadonlyMap<string, number> {
  const alphabet = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    alphabet.set(String.fromCodePoint(prints ? byte : next++), byte);
  }
  return alphabet;
}

/** Bytes of a token that is written in the byte-level alphabet; a token with any other character stands for its own UTF-8. */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = byteOfCharacter.get(character);
    if (byte === undefined) return utf8.encode(token);
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}
