// Access to NVIDIA's NIXL through the C ABI of its wheel; nothing of NIXL is needed to build or to import this.
import { binding } from './addon.ts';
import { NixlAgent, type NixlAgentOptions } from './agent.ts';
import type { LibraryHandle } from './binding.d.ts';
import { addressOf, dramRanges } from './ranges.ts';

/** The loaded library. Loading takes 30 to 100 ms; it is never unloaded. */
export class Nixl {
  readonly addressOf = addressOf;
  readonly dramRanges = dramRanges;
  readonly #library: LibraryHandle;

  /**
   * Loads libnixl_capi.so from a path, or by a bare name as the system's loader finds it. Throws an Error with `code`
   * `library_missing`, or `library_unsuitable` where it is too old or NIXL's stub.
   */
  constructor(library: string) {
    this.#library = binding().libraryOpen(library);
  }

  /** Opens an agent; it lives until it is closed. Rejects with a NixlError. */
  openAgent(options: NixlAgentOptions): Promise<NixlAgent> {
    return NixlAgent.open(this.#library, options);
  }
}
