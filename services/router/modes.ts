import { type PolicyName, policyNames } from '#core/routing/factory.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { type RouteRequest, RouterMode } from '#gen/stator/router/v1/router_pb.ts';
import { type SettingsOf, setting } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';

const stageMode = (stage: string) =>
  setting.choice(['same', ...policyNames], {
    default: 'same',
    group: 'Routing',
    help: `The same where only the ${stage} stage of a request is placed; same: as mode says.`,
  });

export const stageSettings = { prefillMode: stageMode('prefill'), decodeMode: stageMode('decode') };

/** How workers are chosen unless a request says otherwise, by what is placed. */
export type StageModes = SettingsOf<typeof stageSettings> & { readonly mode: PolicyName };

const policyOfMode: Partial<Record<RouterMode, PolicyName>> = {
  [RouterMode.ROUND_ROBIN]: 'round-robin',
  [RouterMode.RANDOM]: 'random',
  [RouterMode.POWER_OF_TWO]: 'power-of-two',
  [RouterMode.LEAST_LOADED]: 'least-loaded',
  [RouterMode.DIRECT]: 'direct',
  [RouterMode.KV]: 'kv',
  [RouterMode.DEVICE_AWARE_WEIGHTED]: 'device-aware-weighted',
  [RouterMode.TOKEN_BALANCE]: 'token-balance',
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
  'device-aware-weighted': RouterMode.DEVICE_AWARE_WEIGHTED,
  'token-balance': RouterMode.TOKEN_BALANCE,
};

/** The policy for a request; throws `unsupported` for a mode that this router lacks. */
export function policyFor(
  { mode, constraints }: Pick<RouteRequest, 'mode' | 'constraints'>,
  modes: StageModes,
): PolicyName {
  const fallback = ownMode(constraints?.role, modes);
  // A router whose own form of KV routing is another one means that one.
  if (mode === RouterMode.UNSPECIFIED || mode === modeOfPolicy[fallback]) return fallback;
  const name = policyOfMode[mode];
  if (name === undefined)
    throw StatorError.unsupported('mode', `This router has no mode ${RouterMode[mode as never] ?? mode}.`);
  return name;
}

function ownMode(stage: WorkerRole | undefined, { mode, prefillMode, decodeMode }: StageModes): PolicyName {
  if (stage === WorkerRole.PREFILL && prefillMode !== 'same') return prefillMode;
  if (stage === WorkerRole.DECODE && decodeMode !== 'same') return decodeMode;
  return mode;
}

/** A mode for metrics: `default` is the router's own, `unsupported` one that it lacks. */
export function modeLabel(mode: RouterMode): string {
  return mode === RouterMode.UNSPECIFIED ? 'default' : (policyOfMode[mode] ?? 'unsupported');
}
