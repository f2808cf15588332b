import { StatorError } from '#lib/errors/errors.ts';

/** A value of the request as JSON text; values nested so deep that it cannot be written are refused by their field. */
export function jsonText(value: unknown, field: string): string {
  try {
    return JSON.stringify(value);
  } catch (cause) {
    throw StatorError.invalid(field, `Validation: \`${field}\`: is nested too deep`, { cause });
  }
}
