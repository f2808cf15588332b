import { isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** What the addon threw, as a StatorError with the addon's own code and field. */
export function fromNative(thrown: unknown): StatorError {
  if (thrown instanceof StatorError || !(thrown instanceof Error)) return StatorError.from(thrown);
  const code =
    'code' in thrown && typeof thrown.code === 'string' && isErrorCode(thrown.code) ? thrown.code : 'internal';
  const field = 'field' in thrown && typeof thrown.field === 'string' ? { field: thrown.field } : {};
  return new StatorError(code, thrown.message, { ...field, cause: thrown });
}

/** Awaits or runs an addon call and maps its errors. */
export async function native<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (thrown) {
    throw fromNative(thrown);
  }
}
