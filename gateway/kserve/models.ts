import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import type { ResolvedModel } from '../models/catalog.ts';

/** Models have one version at a time. */
export const onlyVersion = '1';

export function isVersion(version: string): boolean {
  return version === '' || version === onlyVersion;
}

/** A model as this API shows it. */
export interface TensorModel {
  readonly model: ResolvedModel;
  /** What it makes of text: more text, or vectors. */
  readonly makes: 'text' | 'vectors';
}

/** A model that this API can show. Throws `model_not_found`, `invalid_argument` or `unsupported`. */
export function shownModel(ctx: GatewayContext, name: string, version: string): TensorModel {
  return checked(ctx.catalog.known(name), version);
}

/** The same, ready to serve; throws `not_ready` too. */
export function readyModel(ctx: GatewayContext, name: string, version: string): TensorModel {
  return checked(ctx.catalog.resolve(name), version);
}

function checked(model: ResolvedModel, version: string): TensorModel {
  if (!isVersion(version)) {
    const message = `The model \`${model.entry.name}\` has the version ${onlyVersion} only, not \`${version.slice(0, 100)}\``;
    throw new StatorError('model_not_found', message, { field: 'model_version' });
  }
  const tasks = model.entry.card.capabilities?.tasks ?? [];
  if (tasks.includes(Task.COMPLETION)) return { model, makes: 'text' };
  if (tasks.includes(Task.EMBEDDING)) return { model, makes: 'vectors' };
  const message = `The model \`${model.entry.name}\` neither completes text nor embeds, which is all that tensors can ask for here`;
  throw StatorError.unsupported('model_name', message);
}

export function nameOf({ entry, adapter }: ResolvedModel): string {
  return adapter === '' ? entry.name : adapter;
}
