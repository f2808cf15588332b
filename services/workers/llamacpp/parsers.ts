import { findReasoningFormat, findToolFormat, reasoningFormats, toolFormats } from '#core/parsing/registry.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** Refuses names of parsers that do not exist before a model is loaded under them. */
export function checkParsers({
  toolCallParser,
  reasoningParser,
}: {
  toolCallParser: string;
  reasoningParser: string;
}): void {
  check('toolCallParser', toolCallParser, findToolFormat, toolFormats);
  check('reasoningParser', reasoningParser, findReasoningFormat, reasoningFormats);
}

function check(
  setting: string,
  name: string,
  find: (name: string) => unknown,
  all: readonly { readonly names: readonly string[] }[],
): void {
  if (name === '' || name === 'none' || find(name) !== undefined) return;
  const known = [...new Set(all.flatMap(({ names }) => names))].sort().join(', ');
  throw StatorError.invalid(setting, `There is no parser ${name}. There are: none, ${known}.`);
}
