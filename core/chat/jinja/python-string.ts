/** What Python's str.isspace calls whitespace; JavaScript's differs in U+001C-1F, U+0085 and U+FEFF. */
export const pythonSpace = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const leading = new RegExp(`^[${pythonSpace}]+`);
const spaces = new RegExp(`[^${pythonSpace}]+`, 'g');
const allSpace = new RegExp(`^[${pythonSpace}]+$`);

export function isSpace(text: string): boolean {
  return allSpace.test(text);
}

export function stripStart(text: string, characters: string | null = null): string {
  if (characters === null) return text.replace(leading, '');
  const points = Array.from(text);
  let from = 0;
  while (from < points.length && characters.includes(points[from] ?? '')) from++;
  return points.slice(from).join('');
}

export function stripEnd(text: string, characters: string | null = null): string {
  if (characters === null) {
    let end = text.length;
    while (end > 0 && allSpace.test(text.charAt(end - 1))) end--;
    return text.slice(0, end);
  }
  const points = Array.from(text);
  while (points.length > 0 && characters.includes(points.at(-1) ?? '')) points.pop();
  return points.join('');
}

/** str.split without a separator. `limit` is the most splits; negative: no bound. */
export function splitSpace(text: string, limit: number): string[] {
  const words: string[] = [];
  for (const match of text.matchAll(spaces)) {
    if (limit >= 0 && words.length === limit) {
      words.push(stripEnd(text.slice(match.index)));
      break;
    }
    words.push(match[0]);
  }
  return words;
}

/** str.title: a letter after anything but a letter is upper case. */
export function titleCase(text: string): string {
  let inWord = false;
  let result = '';
  for (const character of text) {
    const cased = /[\p{L}\p{Lt}]/u.test(character);
    result += !cased ? character : inWord ? character.toLowerCase() : character.toUpperCase();
    inWord = cased;
  }
  return result;
}

export function capitalize(text: string): string {
  const [first = ''] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

const escapes: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** The value of a string literal's inside, by Python's rules: an unknown escape stays as it is. */
export function unescapeString(inside: string): string {
  if (!inside.includes('\\')) return inside;
  return inside.replace(
    /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|([\s\S]))/g,
    (all, byte, unit, point, octal, other) => {
      const code = byte ?? unit ?? point;
      if (code !== undefined) return String.fromCodePoint(Number.parseInt(code, 16));
      if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
      return escapes[other] ?? all;
    },
  );
}

const notPrintable = /[\p{C}\p{Zl}\p{Zp}\p{Zs}]/u;
const shortEscapes: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };

/** repr of a str. */
export function reprString(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let result = quote;
  for (const character of text) result += reprCharacter(character, quote);
  return result + quote;
}

function reprCharacter(character: string, quote: string): string {
  if (character === quote) return `\\${quote}`;
  const short = shortEscapes[character];
  if (short !== undefined) return short;
  if (character === ' ' || !notPrintable.test(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, '0')}`;
  return `\\U${code.toString(16).padStart(8, '0')}`;
}

/** repr of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16. */
export function reprFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const [mantissa = '', exponentText = '0'] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) {
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const digits = mantissa.replace(/[-.]/g, '');
  const sign = value < 0 ? '-' : '';
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`;
}
