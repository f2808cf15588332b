// Memory of this host: buffers of huge pages, and copies to and from the memory that another process lends.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Binding } from './binding.d.ts';

let loaded: Binding | undefined;

/**
 * The addon. `copy` moves pieces of five words (slot, lender's id for it, local address, offset, bytes) between this
 * process and the one whose control file is named, on a thread of the pool, without that process's help. Throws where
 * the addon is not built.
 */
export function hostMemory(): Binding {
  if (loaded !== undefined) return loaded;
  const file = new URL('./build/Release/hostmem.node', import.meta.url);
  try {
    const addon: Binding = createRequire(import.meta.url)(fileURLToPath(file));
    loaded = addon;
    return addon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `The hostmem addon cannot be loaded: ${reason} Build it with: npm run native, or see: stator doctor.`,
      { cause },
    );
  }
}
