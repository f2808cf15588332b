import type { BlockInfo } from '#core/blocks/listing.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { KvbmContext } from './context.ts';
import type { Layout } from './layout.ts';

/** Blocks that are compared with their checksums at once. */
const batch = 32;

export interface Inspected {
  readonly checked: number;
  readonly wrong: number;
}

/** Compares blocks in host memory with their checksums, and drops those that are wrong. Free and unwritten slots are passed over. */
export async function inspect(context: KvbmContext, layout: Layout, slots: readonly number[]): Promise<Inspected> {
  let [checked, wrong] = [0, 0];
  for (let from = 0; from < slots.length; from += batch) {
    const blocks = slots.slice(from, from + batch).flatMap((slot) => {
      const block = context.manager.block(tiers.host, layout.index, slot);
      return block?.isRegistered === true ? [block] : [];
    });
    const found = await inspectBlocks(context, layout, blocks);
    checked += found.checked;
    wrong += found.wrong;
  }
  return { checked, wrong };
}

async function inspectBlocks(
  { host, self }: KvbmContext,
  layout: Layout,
  blocks: readonly BlockInfo[],
): Promise<Inspected> {
  let wrong = 0;
  for (const { namespace, digest, slots } of blocks) {
    const lease = host.pin(self, namespace, digest, [0]);
    try {
      if ((await host.wrong(lease)).length === 0) host.confirm(layout.index, slots[tiers.host]);
      else {
        host.drop(layout.index, slots[tiers.host], namespace, digest, 0);
        wrong++;
      }
    } finally {
      host.release(self, lease.id);
    }
  }
  return { checked: blocks.length, wrong };
}
