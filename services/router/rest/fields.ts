import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';

const most = 2n ** 64n;

/** An integer that fits 64 bits without sign, as a number, an exact bigint or a decimal string. */
export const uint64 = z
  .union([z.number().int().nonnegative(), z.bigint(), z.string().regex(/^\d{1,20}$/)])
  .transform((value) => BigInt(value))
  .refine((value) => value >= 0n && value < most, 'expected an integer from 0 to 2^64 - 1');

/** Hashes may come signed: engines and other routers print the same 64 bits both ways. */
export const hash64 = z
  .union([z.number().int(), z.bigint(), z.string().regex(/^-?\d{1,20}$/)])
  .transform((value) => BigInt(value))
  .refine((value) => value >= -(most / 2n) && value < most, 'expected a 64-bit integer')
  .transform((value) => BigInt.asUintN(64, value));

export const uint32 = z.number().int().min(0).max(0xffff_ffff);

/** What a body holds; throws `invalid_argument` that names the field and what was expected. */
export function checkedBody<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue?.code === 'unrecognized_keys' ? [...issue.path, ...issue.keys.slice(0, 1)] : (issue?.path ?? []);
  const field = path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
  throw StatorError.invalid(field, `\`${field === '' ? 'body' : field}\`: ${issue?.message ?? 'is not valid'}`);
}

/** A path's or a query's 64-bit identifier. */
export function idOf(text: string, field: string): bigint {
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= most)
    throw StatorError.invalid(field, `\`${field}\`: expected an integer from 0 to 2^64 - 1`);
  return BigInt(text);
}
