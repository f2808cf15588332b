/** Attributes of an element; numbers are written with at most two decimals. */
type Attributes = Readonly<Record<string, string | number | undefined>>;

/** One SVG element as text. `children` are elements already. */
export function element(name: string, attributes: Attributes, children: readonly string[] = []): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${typeof value === 'number' ? coordinate(value) : escapeText(value ?? '')}"`)
    .join('');
  return children.length === 0 ? `<${name}${written}/>` : `<${name}${written}>${children.join('')}</${name}>`;
}

export interface TextOptions {
  readonly x: number;
  readonly y: number;
  /** CSS classes. */
  readonly class: string;
  readonly anchor?: 'start' | 'middle' | 'end';
}

export function text(content: string, { x, y, class: classes, anchor = 'start' }: TextOptions): string {
  return element('text', { x, y, class: classes, 'text-anchor': anchor === 'start' ? undefined : anchor }, [
    escapeText(content),
  ]);
}

/** Safe as content and as an attribute; characters that XML cannot hold become U+FFFD. */
export function escapeText(content: string): string {
  return content
    .replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, '\uFFFD')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

/** Two decimals at most. Throws on what is no number: it would show as nothing. */
export function coordinate(value: number): string {
  if (!Number.isFinite(value)) throw new Error(`a coordinate is ${value}`);
  return String(Math.round(value * 100) / 100);
}

/** About how wide a text is: fonts differ, so rather too wide. */
export function textWidth(content: string, fontSize: number): number {
  let units = 0;
  for (const character of content) units += widthOf(character);
  return units * fontSize;
}

function widthOf(character: string): number {
  if (/[ilj.,:;'|!·]/.test(character)) return 0.32;
  if (/[mwMW@%]/.test(character)) return 0.92;
  if (/[A-Z]/.test(character)) return 0.7;
  if (/\d/.test(character)) return 0.64;
  return /[ -~]/.test(character) ? 0.58 : 0.8;
}

/** A text that is at most so wide, with an ellipsis where something was left out. */
export function fitted(content: string, fontSize: number, width: number): string {
  if (textWidth(content, fontSize) <= width) return content;
  const characters = [...content];
  while (characters.length > 1 && textWidth(`${characters.join('')}…`, fontSize) > width) characters.pop();
  return `${characters.join('')}…`;
}
