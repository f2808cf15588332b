import { StatorError } from '#lib/errors/errors.ts';
import type { PlainRoute } from '../../http/route-table.ts';

/** A path of the public APIs for which no kind of worker exists: says so whatever is sent. */
export function notOffered(what: string): PlainRoute {
  return {
    kind: 'plain',
    run: (_ctx, { path }) => {
      throw new StatorError(
        'unimplemented',
        `${path}: no worker here ${what}. Register one that does, or ask elsewhere.`,
      );
    },
  };
}
