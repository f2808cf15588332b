import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import { type Exchange, queryOf } from '../http/exchange.ts';

/** Which part of a list is wanted. */
export interface PageAsked {
  readonly limit: number;
  /** Only what follows this one; null: from the start. */
  readonly after: string | null;
  /** Only what stands before this one; null: to the end. */
  readonly before: string | null;
  readonly order: 'asc' | 'desc';
}

export interface PageNames {
  /** Entries of a page unless the client says otherwise. */
  readonly limit: number;
  readonly most: number;
  readonly after?: string;
  readonly before?: string;
}

/** What the parameters of a list say; throws StatorError naming the one at fault. */
export function pageAsked(exchange: Exchange, o: PageNames): PageAsked {
  const query = queryOf(exchange);
  const limit = query.get('limit');
  if (limit !== null && !(/^\d{1,6}$/.test(limit) && Number(limit) >= 1 && Number(limit) <= o.most))
    throw StatorError.invalid('limit', `Validation: \`limit\`: must be a number from 1 to ${o.most}`);
  const order = query.get('order') ?? 'desc';
  if (order !== 'asc' && order !== 'desc')
    throw StatorError.invalid('order', 'Validation: `order`: must be asc or desc');
  const after = query.get(o.after ?? 'after');
  const before = query.get(o.before ?? 'before');
  return { limit: limit === null ? o.limit : Number(limit), after: after || null, before: before || null, order };
}

/** The part of a whole list that is wanted; cursors that it does not have stand for its ends. */
export function pageOf<T extends { readonly id: string }>(
  all: readonly T[],
  o: Pick<PageAsked, 'limit' | 'after' | 'before'>,
): { items: readonly T[]; hasMore: boolean } {
  const start = o.after === null ? 0 : all.findIndex(({ id }) => id === o.after) + 1;
  const found = o.before === null ? -1 : all.findIndex(({ id }) => id === o.before);
  const end = found < 0 ? all.length : found;
  // Going backwards the page is the one right before the cursor.
  const from = found < 0 ? start : Math.max(start, end - o.limit);
  const items = all.slice(from, Math.min(end, from + o.limit));
  return { items, hasMore: found < 0 ? from + items.length < end : from > start };
}

/** A page of a stored collection whose keys are in the order of creation. */
export async function storedPage<T>(
  store: Store,
  collection: string,
  { limit, after, order }: PageAsked,
  read: (value: Uint8Array) => T,
): Promise<{ items: readonly T[]; hasMore: boolean }> {
  const found: T[] = [];
  for (let last = after; found.length <= limit; ) {
    const page = await store.list(collection, { limit: Math.min(1000, limit + 1 - found.length), after: last, order });
    found.push(...page.map(({ value }) => read(value)));
    last = page.at(-1)?.key ?? null;
    if (last === null) break;
  }
  return { items: found.slice(0, limit), hasMore: found.length > limit };
}
