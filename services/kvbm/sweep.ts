import { setTimeout as delay } from 'node:timers/promises';
import type { KvbmContext } from './context.ts';
import { inspect } from './inspection.ts';

const mebibyte = 2 ** 20;

/** Blocks looked at in one go. */
const batch = 16;

/** Compares what an earlier life left in host memory with its checksums, at the rate that is set, until nothing is left. */
export async function sweep(context: KvbmContext): Promise<void> {
  const { config, host, stopping, log } = context;
  const rate = config.sweepMibPerSecond * mebibyte;
  if (rate === 0 || host.unverified === 0) return;
  let [checked, wrong] = [0, 0];
  for (const layout of host.layouts())
    for (let slots = host.doubtful(layout.index, batch); slots.length > 0; slots = host.doubtful(layout.index, batch)) {
      const found = await inspect(context, layout, slots);
      for (const slot of slots) host.confirm(layout.index, slot);
      checked += found.checked;
      wrong += found.wrong;
      await delay((1000 * slots.length * layout.blockBytes) / rate, undefined, { signal: stopping }).catch(() => {});
      if (stopping.aborted) return;
    }
  log.info({ checked, wrong }, 'what an earlier life left in host memory is verified');
}
