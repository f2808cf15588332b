import { StatorError } from '#lib/errors/errors.ts';

/** Uploads that a gateway holds in memory at once. */
const most = 4;

class UploadSlots {
  #taken = 0;

  /** Throws `overloaded` where all are taken; the answer gives the slot back. */
  take(): () => void {
    if (this.#taken >= most)
      throw new StatorError('overloaded', `${most} files are being uploaded already.`, { retryAfterMs: 1000 });
    this.#taken += 1;
    return () => {
      this.#taken -= 1;
    };
  }
}

const slots = new WeakMap<object, UploadSlots>();

/** The slots of a gateway. */
export function slotsOf(gateway: object): UploadSlots {
  let found = slots.get(gateway);
  if (found === undefined) {
    found = new UploadSlots();
    slots.set(gateway, found);
  }
  return found;
}
