import { roleName } from '#core/models/role-names.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, isAnthropic, sendJson } from '../../http/exchange.ts';
import type { RouteParams } from '../../http/route-table.ts';
import type { ModelEntry } from '../../models/catalog.ts';
import { pageAsked, pageOf } from '../page.ts';

/** A model as /v1/models shows it. */
function shownModel(entry: ModelEntry, id: string = entry.name): object {
  const { card } = entry;
  return {
    id,
    object: 'model',
    created: Math.floor(Number(card.createdUnixMs) / 1000),
    owned_by: card.ownedBy === '' ? 'stator' : card.ownedBy,
    context_window: card.limits?.contextLength ?? null,
    max_output_tokens: card.limits?.maxOutputTokens || null,
    aliases: card.aliases,
  };
}

/** The same as Anthropic's clients expect it. */
function shownToAnthropic(entry: ModelEntry, id: string): { readonly id: string } {
  const { card } = entry;
  return {
    ...{ type: 'model', display_name: id, created_at: new Date(Number(card.createdUnixMs)).toISOString() },
    id,
    ...{ max_input_tokens: card.limits?.contextLength ?? null, max_tokens: card.limits?.maxOutputTokens || null },
  };
}

interface ListedModel {
  readonly id: string;
  readonly entry: ModelEntry;
  readonly isAdapter: boolean;
}

/** A page of models, by `limit`, `after_id` and `before_id`. */
function pageOfModels(ctx: GatewayContext, exchange: Exchange, limit: number): ReturnType<typeof pageOf<ListedModel>> {
  const all = ctx.catalog.ready().flatMap((entry): ListedModel[] => {
    const adapters = entry.card.adapters.map(({ name }) => ({ id: name, entry, isAdapter: true }));
    return [{ id: entry.name, entry, isAdapter: false }, ...adapters];
  });
  return pageOf(all, pageAsked(exchange, { limit, most: 1000, after: 'after_id', before: 'before_id' }));
}

function listForAnthropic(ctx: GatewayContext, exchange: Exchange): void {
  const page = pageOfModels(ctx, exchange, 20);
  const data = page.items.map(({ id, entry }) => shownToAnthropic(entry, id));
  const ends = { first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
  sendJson(exchange, 200, JSON.stringify({ data, has_more: page.hasMore, ...ends }));
}

/** GET /v1/models: models that can be asked for now, and the adapters they have. */
export function listModels(ctx: GatewayContext, exchange: Exchange): void {
  if (isAnthropic(exchange)) {
    listForAnthropic(ctx, exchange);
    return;
  }
  const { items } = pageOfModels(ctx, exchange, Number.POSITIVE_INFINITY);
  const data = items.map(({ id, entry, isAdapter }) =>
    isAdapter ? { ...shownModel(entry, id), parent: entry.name } : shownModel(entry),
  );
  sendJson(exchange, 200, JSON.stringify({ object: 'list', data }));
}

/** GET /v1/models/{id}; the id may hold slashes, and one that really ends in /ready wins over the question for readiness. */
export function getModel(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): void {
  if (id.endsWith('/ready') && ctx.catalog.find(id) === null) {
    getReadiness(ctx, exchange, id.slice(0, -'/ready'.length));
    return;
  }
  const { entry, adapter } = ctx.catalog.resolve(id);
  const name = adapter === '' ? entry.name : adapter;
  const shown = isAnthropic(exchange) ? shownToAnthropic(entry, name) : shownModel(entry, name);
  sendJson(exchange, 200, JSON.stringify(shown));
}

/** GET /v1/models/{id}/ready: which roles are there and which are missing. */
function getReadiness(ctx: GatewayContext, exchange: Exchange, id: string): void {
  const found = ctx.catalog.find(id);
  if (found === null)
    throw new StatorError('model_not_found', `The model \`${id.slice(0, 200)}\` does not exist.`, { field: 'model' });
  const { entry } = found;
  const ready = ctx.catalog.isReady(entry);
  const workers: Record<string, number> = {};
  for (const worker of entry.workers.values()) {
    const role = roleName(worker.card.role);
    workers[role] = (workers[role] ?? 0) + 1;
  }
  const present = Object.keys(workers).sort();
  const needs = entry.card.needs.map((need) => need.roles.map(roleName));
  const missing =
    needs.map((roles) => roles.filter((role) => !present.includes(role))).sort((a, b) => a.length - b.length)[0] ?? [];
  const reason = ready
    ? {}
    : { reason: missing.length > 0 ? `missing ${missing.join(', ')}` : 'no worker takes requests' };
  const body = {
    model: entry.name,
    ready,
    ...reason,
    worker_types: workers,
    needs,
    present,
    missing_worker_types: missing,
  };
  sendJson(exchange, ready ? 200 : 503, JSON.stringify(body));
}
