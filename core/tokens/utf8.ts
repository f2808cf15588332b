/**
 * Number of bytes (0 to 3) at the end of `bytes[0, end)` that begin a UTF-8 character which later bytes may complete.
 * Follows Unicode's table 3-7, so that whatever is not held can never become valid: a decoder replaces it at once.
 */
export function incompleteTail(bytes: Uint8Array, end: number): number {
  for (let back = 1; back <= 3 && back <= end; back++) {
    const lead = bytes[end - back] ?? 0;
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue;
    return isPrefix(bytes, end - back, back, lead) ? back : 0;
  }
  return 0;
}

/** Whether `have` bytes from `at`, all but the first being continuation bytes, are a proper prefix of a character. */
function isPrefix(bytes: Uint8Array, at: number, have: number, lead: number): boolean {
  if (have >= characterLength(lead)) return false;
  if (have === 1) return true;
  const second = bytes[at + 1] ?? 0;
  if (lead === 0xe0) return second >= 0xa0;
  if (lead === 0xed) return second < 0xa0;
  if (lead === 0xf0) return second >= 0x90;
  if (lead === 0xf4) return second < 0x90;
  return true;
}

/** Bytes of the character that a lead byte begins; 0 for bytes that begin none. */
function characterLength(lead: number): number {
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}
