import type { NamespaceBook } from '../namespace-book.ts';
import { hexOf } from '../records.ts';
import type { DecodedPage } from '../stored/page.ts';
import { type DiskLayout, type DiskOptions, openSlots } from './disk-layout.ts';
import { otherFolders } from './folder.ts';

/** Folders of layouts that nobody has opened in this life. */
export async function openUnused(options: DiskOptions, opened: ReadonlySet<string>): Promise<DiskLayout[]> {
  const others = await otherFolders(options.files, options.folder, opened);
  return Promise.all([...others].map(([folder, manifest]) => openSlots(options, folder, manifest)));
}

/**
 * Overwrites every slot that may hold something of a tenant: blocks that are found, those that were evicted and are not
 * overwritten yet, and whatever does not say whose it is.
 */
export async function purgeSlots(book: NamespaceBook, tenant: string, disk: DiskLayout): Promise<number> {
  const slots = await disk.segments.existing();
  let next = 0;
  let purged = 0;
  const work = async (): Promise<void> => {
    for (let slot = next++; slot < slots; slot = next++)
      if (await disk.store.erase(slot, (page) => mayBeOf(book, tenant, page))) purged++;
  };
  await Promise.all(Array.from({ length: 8 }, work));
  return purged;
}

function mayBeOf(book: NamespaceBook, tenant: string, { page, rejection }: DecodedPage): boolean {
  if (page === undefined) return rejection !== 'empty';
  const namespace = book.find(hexOf(page.header.namespaceDigest));
  return namespace === undefined || namespace.tenant === tenant;
}
