/**
 * JSON whose integers keep all 64 bits: identifiers and hashes are plain numbers to the callers of this interface, and
 * JavaScript's own numbers would round them. Integers beyond 2^53 are bigint here, in both directions.
 */
export function parseExactJson(text: string): unknown {
  return JSON.parse(text, exact) as unknown;
}

export function exactJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? raw(part) : part));
}

function exact(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  const source = context?.source ?? '';
  return /^-?\d+$/.test(source) ? BigInt(source) : value;
}

/** JSON.rawJSON (ECMAScript proposal, in Node since 21) is not in TypeScript's library yet. */
function raw(value: bigint): unknown {
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());
}
