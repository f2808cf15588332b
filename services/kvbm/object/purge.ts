import type { ObjectStore } from '#lib/objectstore/store.ts';

const root = 'stator-kv/v1/';

/** Deletes everything of a tenant, whatever model it is of and whichever node wrote it. Resolves with the objects deleted. */
export async function purgeTenant(store: ObjectStore, tenant: string, signal: AbortSignal): Promise<number> {
  let deleted = 0;
  for (const model of await store.folders(root, { signal })) {
    const prefix = `${root}${model}/${tenant}/`;
    // What was listed is deleted, so that every page is a first one.
    for (;;) {
      const { objects } = await store.list({ prefix, signal });
      if (objects.length === 0) break;
      await store.delete(
        objects.map(({ key }) => key),
        { signal },
      );
      deleted += objects.length;
    }
  }
  return deleted;
}
