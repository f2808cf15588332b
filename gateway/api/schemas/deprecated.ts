import { StatorError } from '#lib/errors/errors.ts';

/** Functions in their form before tools: 501, as the API has dropped them. */
export function refuseDeprecated(body: unknown): void {
  if (typeof body !== 'object' || body === null) return;
  for (const field of ['functions', 'function_call']) {
    const value = (body as Record<string, unknown>)[field];
    if (value === undefined || value === null) continue;
    throw new StatorError('unimplemented', `\`${field}\` is deprecated: use \`tools\` and \`tool_choice\``, { field });
  }
}
