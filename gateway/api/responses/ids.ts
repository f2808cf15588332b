import { randomUUID } from 'node:crypto';

export function newId(prefix: string): string {
  return `${prefix}_${randomUUID().replaceAll('-', '')}`;
}

/** Id of an output item. It tells whose item it is, so that a reference finds its response without an index. */
export function outputItemId(prefix: string, responseId: string, place: number): string {
  return `${prefix}_${responseId.replace(/^resp_/, '')}${place.toString(16).padStart(4, '0')}`;
}

/** The response that an output item with this id belongs to; null: no response has such an item. */
export function responseOfItem(itemId: string): string | null {
  const response = /^[a-z]{2,4}_([\da-f]{32})[\da-f]{4,}$/.exec(itemId)?.[1];
  return response === undefined ? null : `resp_${response}`;
}
