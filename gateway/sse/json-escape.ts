/** Everything that JSON text may carry unescaped and that is one byte in UTF-8. */
const plainAscii = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/** Whether `text` can stand between JSON quotes as it is and has one byte for each character. */
export function isPlainAscii(text: string): boolean {
  return plainAscii.test(text);
}

const ascii = /^[\0-\x7f]*$/;

/** Whether `text` has one byte for each character, whatever it is. */
export function isAscii(text: string): boolean {
  return ascii.test(text);
}

const shortEscapes: Readonly<Record<number, string>> = {
  8: '\\b',
  9: '\\t',
  10: '\\n',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
};

function unicodeEscape(code: number): string {
  return `\\u${code.toString(16).padStart(4, '0')}`;
}

/** The escape of the UTF-16 unit at `index`, or null if it may stand as it is. Lone surrogates are escaped, as ECMA-262 does. */
function escapeAt(text: string, index: number, code: number): string | null {
  if (code < 0x20 || code === 0x22 || code === 0x5c) return shortEscapes[code] ?? unicodeEscape(code);
  if (code < 0xd800 || code > 0xdfff) return null;
  if (code < 0xdc00) {
    const next = text.charCodeAt(index + 1);
    return next >= 0xdc00 && next <= 0xdfff ? null : unicodeEscape(code);
  }
  const previous = index === 0 ? 0 : text.charCodeAt(index - 1);
  return previous >= 0xd800 && previous <= 0xdbff ? null : unicodeEscape(code);
}

/** The inside of the JSON string of `text`: what JSON.stringify writes between the quotes, without its call. */
export function escapeJson(text: string): string {
  if (isPlainAscii(text)) return text;
  let out = '';
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code >= 0x20 && code !== 0x22 && code !== 0x5c && (code < 0xd800 || code > 0xdfff)) continue;
    const escaped = escapeAt(text, index, code);
    if (escaped === null) continue;
    out += text.slice(start, index) + escaped;
    start = index + 1;
  }
  return start === 0 ? text : out + text.slice(start);
}
