// Memory of this host: buffers of huge pages, and copies to and from the memory that another process lends.
import { addonOf } from '../load-addon.ts';
import type { Binding } from './binding.d.ts';

/**
 * The addon. `copy` moves pieces of six words (slot, lender's id for it, index of the local buffer, offset in it, offset in
 * the lender's memory, bytes) between this process and the lender, without that process's help. What takes long
 * runs on threads of the addon's own. Throws where the addon is not built.
 */
export const hostMemory: () => Binding = addonOf<Binding>('hostmem');
