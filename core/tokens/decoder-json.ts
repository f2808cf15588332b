import { byteLevelBytes } from './byte-level.ts';

/** A decoder of tokenizer.json. */
export interface DecoderJson {
  readonly type: string;
  readonly decoders?: readonly DecoderJson[];
  readonly pattern?: { readonly String?: string };
  readonly content?: string;
  readonly start?: number;
  readonly stop?: number;
  readonly replacement?: string;
  readonly prepend_scheme?: string;
  readonly add_prefix_space?: boolean;
  readonly prefix?: string;
}

/** A decoder as a function of one token, and what it does once at the start of the text. */
export interface TokenDecoder {
  readonly bytes: (token: string) => Uint8Array;
  readonly stripLeadingSpace: boolean;
}

const utf8 = new TextEncoder();

/**
 * The bytes that a decoder makes of each token. All decoders of language models work token by token, but for one space
 * at the very start. Throws SyntaxError for one that cannot be expressed so.
 */
export function decoderBytes(decoder: DecoderJson | null): TokenDecoder {
  // Without a decoder tokens are joined by spaces.
  if (decoder === null) return { bytes: (token) => utf8.encode(` ${token}`), stripLeadingSpace: true };
  const steps = decoder.type === 'Sequence' ? (decoder.decoders ?? []) : [decoder];
  let stripLeadingSpace = false;
  let fused = false;
  let byteFallback = false;
  let byteLevel = false;
  const edits: ((token: string) => string)[] = [];
  for (const step of steps) {
    if (step.type === 'Fuse') fused = true;
    else if (step.type === 'ByteFallback') byteFallback = true;
    else if (step.type === 'ByteLevel') byteLevel = true;
    else if (step.type === 'Strip' && fused) stripLeadingSpace = step.content === ' ' && (step.start ?? 0) > 0;
    else {
      edits.push(textEdit(step));
      stripLeadingSpace ||= stripsFirst(step);
    }
  }
  const edit = (token: string): string => edits.reduce((text, apply) => apply(text), token);
  const encode = byteLevel ? byteLevelBytes : (text: string): Uint8Array => utf8.encode(text);
  const bytes = (token: string): Uint8Array => (byteFallback ? singleByte(token) : null) ?? encode(edit(token));
  return { bytes, stripLeadingSpace };
}

/** A step that edits the text of a token. */
function textEdit(step: DecoderJson): (token: string) => string {
  const content = step.content ?? '';
  switch (step.type) {
    case 'Replace': {
      const pattern = step.pattern?.String;
      if (pattern === undefined) throw new SyntaxError('a Replace decoder with a regular expression is not supported');
      return (token) => token.replaceAll(pattern, () => content);
    }
    case 'Metaspace': {
      const replacement = step.replacement ?? '▁';
      return (token) => token.replaceAll(replacement, ' ');
    }
    case 'WordPiece': {
      const prefix = step.prefix ?? '##';
      return (token) => (token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`);
    }
    case 'Strip':
      return (token) => strip(token, content, step.start ?? 0, step.stop ?? 0);
    default:
      throw new SyntaxError(`the decoder ${step.type} of tokenizer.json is not supported`);
  }
}

function stripsFirst(step: DecoderJson): boolean {
  if (step.type === 'WordPiece') return true;
  if (step.type !== 'Metaspace') return false;
  return step.prepend_scheme === undefined ? step.add_prefix_space !== false : step.prepend_scheme !== 'never';
}

function strip(token: string, content: string, start: number, stop: number): string {
  let from = 0;
  let to = token.length;
  while (from < start && from < to && token[from] === content) from++;
  while (token.length - to < stop && to > from && token[to - 1] === content) to--;
  return token.slice(from, to);
}

/** The byte of a token like `<0x0A>`; null for any other. */
function singleByte(token: string): Uint8Array | null {
  const match = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
  return match?.[1] === undefined ? null : Uint8Array.of(Number.parseInt(match[1], 16));
}
