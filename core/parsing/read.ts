import type { Input, Step } from './input.ts';
import type { Markers } from './markers.ts';

/** Units that a call may keep withheld before its name is known; beyond it, they are text. */
export const maxWithheld = 1 << 20;

export const ended = -1;

export type Write = (text: string) => void;

export function ignore(): void {}

/** Writes text as it comes up to a marker, which is consumed. Returns the marker's index, or `ended`. */
export function* readUntil(input: Input, markers: Markers, write: Write): Step<number> {
  const index = yield* readBefore(input, markers, write);
  if (index !== ended) input.at += markers.all[index]?.length ?? 0;
  return index;
}

/** As readUntil, but the marker stays to be read. */
export function* readBefore(input: Input, markers: Markers, write: Write): Step<number> {
  const needsMore = (): boolean => {
    const from = input.at;
    input.work += input.text.length - from;
    markers.find(input.text, from, !input.ended);
    const { position } = markers;
    input.at = position;
    if (position > from) write(input.text.slice(from, position));
    return markers.index < 0;
  };
  while (needsMore()) {
    if (input.ended) return ended;
    input.pump = needsMore;
    yield;
    input.pump = null;
  }
  return markers.index;
}

/** The text before a marker, which is consumed; null: the text ended or grew too long. */
export function* captureUntil(input: Input, markers: Markers, limit = maxWithheld): Step<string | null> {
  const text = yield* captureBefore(input, markers, limit);
  if (text !== null) input.at += markers.all[markers.index]?.length ?? 0;
  return text;
}

/** As captureUntil, but the marker stays to be read. */
export function* captureBefore(input: Input, markers: Markers, limit = maxWithheld): Step<string | null> {
  let text = '';
  for (;;) {
    const from = input.at;
    const to = Math.min(input.text.length, from + limit - text.length + 64);
    input.work += to - from;
    markers.find(input.text, from, !input.ended);
    const { position, index } = markers;
    if (text.length + position - from > limit) {
      // Where pieces were cut decides nothing: exactly the limit is read.
      input.at += limit - text.length;
      return null;
    }
    text += input.text.slice(from, position);
    input.at = position;
    if (index >= 0) return text;
    if (input.ended) return null;
    yield;
  }
}

/** Which marker stands here, without reading it; -1: none. */
export function* peekMarker(input: Input, markers: Markers): Step<number> {
  for (;;) {
    input.work += 1;
    const possible = markers.test(input.text, input.at, !input.ended);
    if (!possible) return -1;
    if (markers.index >= 0) return markers.index;
    yield;
  }
}

/** Reads a marker if one stands here. */
export function* takeMarker(input: Input, markers: Markers): Step<number> {
  const index = yield* peekMarker(input, markers);
  if (index >= 0) input.at += markers.all[index]?.length ?? 0;
  return index;
}

/** Skips white space; the unit that follows, unread, or `ended`. */
export function* nextUnit(input: Input, write: Write = ignore): Step<number> {
  for (;;) {
    const from = input.at;
    const { text } = input;
    let at = from;
    while (at < text.length && isSpace(text.charCodeAt(at))) at++;
    input.work += at - from + 1;
    input.at = at;
    if (at > from) write(text.slice(from, at));
    if (at < text.length) return text.charCodeAt(at);
    if (input.ended) return ended;
    yield;
  }
}

/** What unitNow gives where more text must come first. */
export const later = -2;

/** As nextUnit without the generator, for the hottest places: `later` asks to call nextUnit. */
export function unitNow(input: Input): number {
  const { text } = input;
  let at = input.at;
  while (at < text.length && isSpace(text.charCodeAt(at))) at++;
  input.work += at - input.at + 1;
  input.at = at;
  if (at < text.length) return text.charCodeAt(at);
  return input.ended ? ended : later;
}

/** The unit that stands here, unread, or `ended`. */
export function* thisUnit(input: Input): Step<number> {
  while (input.at === input.text.length) {
    if (input.ended) return ended;
    yield;
  }
  return input.text.charCodeAt(input.at);
}

export function isSpace(unit: number): boolean {
  return unit === 32 || (unit >= 9 && unit <= 13);
}
