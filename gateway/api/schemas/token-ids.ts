import { z } from 'zod';

const most = 0xffff_ffff;

/**
 * Token ids, `least` or more. Prompts have tens of thousands, so they are checked in one loop; only a list that fails
 * goes element by element, for an error that names the element.
 */
export function tokenIdList(least = 1) {
  const list = z.array(z.int().min(0).max(most)).min(least);
  const { run } = list._zod;
  list._zod.run = (payload, context) => (isTokenIdList(payload.value) ? payload : run(payload, context));
  return list;
}

function isTokenIdList(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  for (const id of value as readonly unknown[])
    if (typeof id !== 'number' || !(id >= 0 && id <= most) || !Number.isInteger(id)) return false;
  return true;
}
