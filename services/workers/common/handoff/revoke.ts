import type { Region } from '#lib/transfer/transfer.ts';

const retryMs = 200;

/**
 * Takes memory back however long it takes: a transfer that cannot be withdrawn holds it until it is done. Never rejects;
 * `isOver`: the agent is closed, and the memory with it.
 */
export async function takeBack(region: Region, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    try {
      await region.revoke();
      return;
    } catch {
      await new Promise<void>((resolve) => setTimeout(resolve, retryMs).unref());
    }
  }
}
