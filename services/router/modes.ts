import type { PolicyName } from '#core/routing/factory.ts';
import { RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

const policyOfMode: Partial<Record<RouterMode, PolicyName>> = {
  [RouterMode.ROUND_ROBIN]: 'round-robin',
  [RouterMode.RANDOM]: 'random',
  [RouterMode.POWER_OF_TWO]: 'power-of-two',
  [RouterMode.LEAST_LOADED]: 'least-loaded',
  [RouterMode.DIRECT]: 'direct',
};

export const modeOfPolicy: Readonly<Record<PolicyName, RouterMode>> = {
  'round-robin': RouterMode.ROUND_ROBIN,
  random: RouterMode.RANDOM,
  'power-of-two': RouterMode.POWER_OF_TWO,
  'least-loaded': RouterMode.LEAST_LOADED,
  direct: RouterMode.DIRECT,
  kv: RouterMode.KV,
  'kv-v08': RouterMode.KV,
  lmetric: RouterMode.KV,
  'two-tier': RouterMode.KV,
  // A router's own modes only: requests cannot ask for them.
  'device-aware-weighted': RouterMode.UNSPECIFIED,
  'token-balance': RouterMode.UNSPECIFIED,
};

/** The policy of a request's mode; throws `unsupported` for one that this router lacks. */
export function policyFor(mode: RouterMode, fallback: PolicyName): PolicyName {
  if (mode === RouterMode.UNSPECIFIED) return fallback;
  const name = policyOfMode[mode];
  if (name === undefined)
    throw StatorError.unsupported('mode', `This router has no mode ${RouterMode[mode as never] ?? mode}.`);
  return name;
}

/** A mode for metrics: `default` is the router's own, `unsupported` one that it lacks. */
export function modeLabel(mode: RouterMode): string {
  return mode === RouterMode.UNSPECIFIED ? 'default' : (policyOfMode[mode] ?? 'unsupported');
}
