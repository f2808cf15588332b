import { namespaceFolder, parseObjectKey } from '#core/blocks/record/object-key.ts';
import type { ObjectStore } from '#lib/objectstore/store.ts';
import type { KnownNamespace } from '../namespace-book.ts';
import { wordsOf } from '../records.ts';
import type { Newest } from './index-listed.ts';
import type { KnownObjects } from './known-objects.ts';
import { nameOf } from './object-blocks.ts';

/** Remembers the objects of a namespace, as many as are to be known, and those that are to be indexed. Resolves with how many it saw. */
export async function listNamespace(
  store: ObjectStore,
  { known, newest }: { readonly known: KnownObjects; readonly newest: Newest },
  namespace: KnownNamespace,
  signal: AbortSignal,
): Promise<number> {
  const prefix = namespaceFolder(nameOf(namespace));
  let seen = 0;
  for (let cursor: string | undefined; ; ) {
    const page = await store.list({ prefix, cursor, signal });
    for (const { key, modifiedMs } of page.objects) {
      const name = parseObjectKey(key);
      if (name === undefined) continue;
      known.add(namespace.digest, wordsOf(name.digest));
      newest.add({ digest: name.digest, modifiedMs });
    }
    seen += page.objects.length;
    cursor = page.cursor;
    if (cursor === undefined || known.isFull) return seen;
  }
}
