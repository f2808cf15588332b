import type { ModelCard } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Nvext } from '../schemas/nvext.ts';

/** What is said of fields that Dynamo's clients may send, that change the answer, and that no engine here honours. */
const unoffered: Readonly<Partial<Record<keyof Nvext, string>>> = {
  metadata_upload: 'nothing is uploaded; ask for what the answer can carry in `nvext.extra_fields`',
  max_thinking_tokens: 'thinking budgets are not offered; limit the whole output by `max_tokens`, or turn thinking off',
};

/** Throws `unsupported` for a field that cannot be honoured. */
export function refuseUnoffered(nvext: Nvext | null | undefined, card: ModelCard): void {
  if (!nvext) return;
  if (card.capabilities?.keepsPrompts !== true) refuseKeeping(nvext, card);
  for (const [name, reason] of Object.entries(unoffered)) {
    const value = nvext[name as keyof Nvext];
    if (value === null || value === undefined) continue;
    throw StatorError.unsupported(`nvext.${name}`, `\`nvext.${name}\` is not supported: ${reason}`);
  }
}

function refuseKeeping({ cache_control: cache, session_control: control }: Nvext, card: ModelCard): void {
  const field = cache ? 'nvext.cache_control' : 'nvext.session_control.action';
  if (!cache && control?.action !== 'open') return;
  const message = `\`${field}\` is not supported by the model \`${card.name}\`: its engine keeps no prompts on demand`;
  throw StatorError.unsupported(field, message);
}
