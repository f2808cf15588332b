// Memory of this host: buffers of huge pages, and copies to and from the memory that another process lends.
import { addonOf } from '../load-addon.ts';
import type { Binding } from './binding.d.ts';

/**
 * The addon. `copy` moves pieces of five words (slot, lender's id for it, local address, offset, bytes) between this
 * process and the one whose control file is named, on a thread of the pool, without that process's help. Throws where
 * the addon is not built.
 */
export const hostMemory: () => Binding = addonOf<Binding>('hostmem');
