import { hostMemory } from '#native/hostmem/index.ts';
import { pageBytes } from '../stored/page.ts';

/** Memory that starts at a page, as direct reads and writes need it. */
export function alignedBytes(bytes: number): Uint8Array {
  return hostMemory().allocate(bytes);
}

export function isPageAligned(memory: Uint8Array): boolean {
  return hostMemory().address(memory) % BigInt(pageBytes) === 0n;
}
