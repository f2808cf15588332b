import { repeat } from '../gbnf.ts';
import type { Emitter } from './emitter.ts';
import type { ArrayShape } from './shapes.ts';

/** Arrays of a shape; null: there is none. */
export function arrayGbnf({ prefix, items, minItems, maxItems }: ArrayShape, emitter: Emitter): string | null {
  const { rules, notation } = emitter;
  if (maxItems !== null && maxItems < minItems) return null;
  const first: string[] = [];
  for (const place of prefix.slice(0, maxItems ?? prefix.length)) {
    const item = emitter.value(place);
    if (item === null) break;
    first.push(item);
  }
  // An item that cannot be ends the list in front of it.
  const rest = first.length < prefix.length || maxItems === first.length ? null : emitter.value(items ?? []);
  if (rest === null && first.length < minItems) return null;
  const most = rest === null ? first.length : maxItems;
  const comma = `"," ${notation.space}`;
  let tail = '""';
  if (rest !== null) {
    const more = Math.max(0, minItems - first.length);
    const bound = most === null ? null : most - first.length;
    if (first.length > 0) tail = repeat(`${comma} ${rest}`, more, bound);
    else tail = commaList(rest, comma, more, bound);
  }
  // From the last item to the first: what follows an item is optional once there are enough.
  for (let index = first.length - 1; index >= 0; index--) {
    const item = `${index > 0 ? `${comma} ` : ''}${first[index] ?? ''} ${tail === '""' ? '' : rules.add(tail)}`;
    tail = index < minItems ? item : `(${item})?`;
  }
  return `"[" ${notation.space} ${tail} "]"`;
}

function commaList(item: string, comma: string, min: number, max: number | null): string {
  if (max === 0) return '""';
  const list = `${item} ${repeat(`${comma} ${item}`, Math.max(0, min - 1), max === null ? null : max - 1)}`;
  return min > 0 ? list : `(${list})?`;
}
