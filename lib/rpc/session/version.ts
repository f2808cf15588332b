import { StatorError } from '#lib/errors/errors.ts';

/** Frame version that this build writes. */
export const FRAME_VERSION = 1;
/** Oldest frame version that this build still speaks: N-1, once there is an N-1. */
export const OLDEST_FRAME_VERSION = 1;

/** The version a worker uses with a gateway whose newest is `newest`. Throws StatorError `unsupported` when there is none in common. */
export function negotiateFrameVersion(newest: number): number {
  if (newest < OLDEST_FRAME_VERSION)
    throw StatorError.unsupported(
      'hello.frame_version',
      `frame version ${newest} is older than ${OLDEST_FRAME_VERSION}, the oldest that this worker speaks`,
    );
  return Math.min(newest, FRAME_VERSION);
}

/** Checks the version that a worker chose. */
export function checkFrameVersion(chosen: number): void {
  if (chosen < OLDEST_FRAME_VERSION || chosen > FRAME_VERSION)
    throw new StatorError(
      'backend_protocol',
      `worker chose frame version ${chosen}; this gateway speaks ${OLDEST_FRAME_VERSION} to ${FRAME_VERSION}`,
    );
}
