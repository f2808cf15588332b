import { RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { type IdentifyingBody, identityOfBody } from '../../agents/body-identity.ts';
import { isolatedSalt } from '../../agents/facts.ts';
import type { AgentIdentity } from '../../agents/identity.ts';
import type { RoutingOverrides, RoutingWishes, StopOptions } from '../../pipeline/request.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';
import type { CompletionRequestBody } from '../schemas/completion.ts';
import type { Nvext } from '../schemas/nvext.ts';
import { type HeaderWishes, unsetRank } from './header-wishes.ts';
import type { TranslateInput } from './job.ts';

type Body = ChatRequestBody | CompletionRequestBody;
type AnyNvext = Partial<Nvext> | null | undefined;
/** What any request may say of routing; gRPC requests say it in headers only. */
type RoutedBody = IdentifyingBody;
type SaltedBody = IdentifyingBody & { readonly cache_salt?: string | null | undefined };
/** Where output ends; null: there is none. */
type Ends = Pick<StopOptions, 'maxTokens' | 'ignoreEos' | 'stopStrings' | 'stopTokenIds'> | null;
type ModeName = NonNullable<NonNullable<Nvext['router']>['mode']>;

const modes: Readonly<Record<ModeName, RouterMode>> = {
  'round-robin': RouterMode.ROUND_ROBIN,
  random: RouterMode.RANDOM,
  'power-of-two': RouterMode.POWER_OF_TWO,
  'least-loaded': RouterMode.LEAST_LOADED,
  direct: RouterMode.DIRECT,
  kv: RouterMode.KV,
  'device-aware-weighted': RouterMode.DEVICE_AWARE_WEIGHTED,
  'token-balance': RouterMode.TOKEN_BALANCE,
};

/** The salt of prefix caches: a tenant that a header names cannot be left by what the body says. Throws StatorError. */
export function cacheSaltOf(body: SaltedBody, headers: HeaderWishes): string {
  const salt = headers.tenantId || body.nvext?.cache_salt || body.cache_salt || '';
  const isolation = headers.kvIsolation ?? body.nvext?.agent_hints?.kv_isolation ?? null;
  return isolatedSalt(salt, isolation, statedIdentity(body, headers));
}

/** Which conversation a request belongs to, by its headers or else its body; null: nobody said. */
export function statedIdentity(body: IdentifyingBody, { session }: HeaderWishes): AgentIdentity | null {
  return session ?? identityOfBody(body);
}

/** Priority in the engine. */
export function priorityOf(body: Body, headers: HeaderWishes): number {
  return headers.priority ?? body.nvext?.agent_hints?.priority ?? 0;
}

/** Milliseconds for the whole request: the smaller of the client's and our own; 0: neither. */
export function timeoutOf({ timeoutMs }: HeaderWishes, input: Pick<TranslateInput, 'timeoutMs'>): number {
  if (timeoutMs === null) return input.timeoutMs;
  return input.timeoutMs === 0 ? timeoutMs : Math.min(timeoutMs, input.timeoutMs);
}

/** What a request wants of routing; headers win over the body field by field. `apart`: other workers prefill than decode. */
export function routingOf(
  body: RoutedBody,
  headers: HeaderWishes,
  ends: Ends,
  { nowMs, apart = false }: Pick<TranslateInput, 'nowMs'> & { readonly apart?: boolean },
): RoutingWishes {
  const { nvext } = body;
  const hints = nvext?.agent_hints;
  const constraints = nvext?.routing_constraints;
  const pin = pinOf(nvext, headers, apart);
  const mode = nvext?.router?.mode;
  if (mode === 'direct' && pin.instanceId === null) {
    const message = 'Validation: `nvext.router.mode`: `direct` needs `nvext.backend_instance_id`';
    throw StatorError.invalid('nvext.router.mode', message);
  }
  return {
    ...pin,
    allowedInstanceIds: (constraints?.allowed_worker_ids ?? []).map(BigInt),
    requiredTaints: constraints?.required_taints ?? [],
    preferredTaints: constraints?.preferred_taints ?? {},
    queuePriority: headers.priority ?? hints?.priority ?? hints?.latency_sensitivity ?? 0,
    strictPriority: headers.strictPriority ?? hints?.strict_priority ?? 0,
    expectedOutputTokens: expectedOutputOf(nvext, ends),
    ...sessionOf(statedIdentity(body, headers)),
    policyClass: headers.policyClass,
    arrivalUnixMs: nvext?.request_timestamp_ms ?? nowMs,
    deadlineUnixMs: headers.timeoutMs === null ? 0 : nowMs + headers.timeoutMs,
    mode: mode ? modes[mode] : RouterMode.UNSPECIFIED,
    overrides: overridesOf(nvext),
  };
}

function sessionOf(
  identity: AgentIdentity | null,
): Pick<RoutingWishes, 'sessionId' | 'parentSessionId' | 'sessionFinal'> {
  if (identity === null) return { sessionId: '', parentSessionId: '', sessionFinal: false };
  const { sessionId, parentSessionId, isFinal } = identity;
  return { sessionId, parentSessionId, sessionFinal: isFinal };
}

/** A worker or rank that is asked for, and where. */
interface Named<T> {
  readonly field: string;
  readonly value: T;
}

/**
 * The workers and ranks that must serve the request. Where one worker prefills and decodes, pins of both halves must agree;
 * what headers name replaces what the body names.
 */
function pinOf(
  nvext: AnyNvext,
  headers: HeaderWishes,
  apart: boolean,
): Pick<RoutingWishes, 'instanceId' | 'dataParallelRank' | 'prefill'> {
  const id = (field: string, value: number | string | null | undefined): Named<bigint | null> => ({
    field,
    value: value === null || value === undefined ? null : BigInt(value),
  });
  const rank = (field: string, value: number | null | undefined): Named<number | null> => ({
    field,
    value: value === undefined || value === unsetRank ? null : value,
  });
  const { pinNames } = headers;
  const decodeIds =
    headers.instanceId === null
      ? [
          id('nvext.decode_worker_id', nvext?.decode_worker_id),
          id('nvext.backend_instance_id', nvext?.backend_instance_id),
        ]
      : [{ field: pinNames.instanceId, value: headers.instanceId }];
  const prefillId =
    headers.prefillInstanceId === null
      ? id('nvext.prefill_worker_id', nvext?.prefill_worker_id)
      : { field: pinNames.prefillInstanceId, value: headers.prefillInstanceId };
  const decodeRank =
    headers.dataParallelRank === null
      ? rank('nvext.dp_rank', nvext?.dp_rank)
      : { field: pinNames.dataParallelRank, value: headers.dataParallelRank };
  const prefillRank =
    headers.prefillDataParallelRank === null
      ? rank('nvext.prefill_dp_rank', nvext?.prefill_dp_rank)
      : { field: pinNames.prefillDataParallelRank, value: headers.prefillDataParallelRank };
  if (apart) {
    const prefill = { instanceId: prefillId.value, dataParallelRank: prefillRank.value };
    return { instanceId: agreed(decodeIds), dataParallelRank: decodeRank.value, prefill };
  }
  const pin = { instanceId: agreed([...decodeIds, prefillId]), dataParallelRank: agreed([decodeRank, prefillRank]) };
  return { ...pin, prefill: pin };
}

/** The one value that is named; throws StatorError where two differ. */
function agreed<T>(named: readonly Named<T | null>[]): T | null {
  const [first, ...others] = named.filter(({ value }) => value !== null);
  if (first === undefined) return null;
  const other = others.find(({ value }) => value !== first.value);
  if (other === undefined) return first.value;
  throw StatorError.unsupported(
    other.field,
    `\`${other.field}\` (${other.value}) differs from \`${first.field}\` (${first.value}), and both name one worker here; name one of them`,
  );
}

/** Output tokens that a choice will have: what the client expects, or exactly `max_tokens` where nothing else ends it. */
function expectedOutputOf(nvext: AnyNvext, ends: Ends): number | null {
  if (ends === null) return null;
  const { maxTokens, ignoreEos, stopStrings, stopTokenIds } = ends;
  const expected = nvext?.agent_hints?.osl;
  if (expected) return maxTokens === null ? expected : Math.min(expected, maxTokens);
  return ignoreEos && stopStrings.length === 0 && stopTokenIds.length === 0 ? maxTokens : null;
}

function overridesOf(nvext: AnyNvext): RoutingOverrides {
  const { overlap_credit: overlapCredit, prefill_load_scale: prefillLoadScale, temperature } = nvext?.router ?? {};
  return {
    ...(typeof overlapCredit === 'number' ? { overlapCredit } : {}),
    ...(typeof prefillLoadScale === 'number' ? { prefillLoadScale } : {}),
    ...(typeof temperature === 'number' ? { temperature } : {}),
  };
}
