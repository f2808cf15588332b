import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import {
  type KvReach,
  KvReach_Enforcement,
  KvReachSchema,
  type ModelCard,
  NeedSchema,
  WorkerRole,
} from '#gen/stator/model/v1/model_pb.ts';
import { type SettingsOf, setting } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';

const group = 'Disaggregation';

/** What a worker is for, and where it stands. */
export const placeSettings = {
  role: setting.choice(['aggregated', 'prefill', 'decode'], {
    default: 'aggregated',
    group,
    help: 'Part of disaggregated requests that the worker is for (docs/disaggregation.md).',
  }),
  decodeAlone: setting.boolean({
    default: false,
    group,
    help: 'Whether a decode worker keeps its model listed where there is no prefill worker: it computes prompts itself then.',
  }),
  topology: setting.optionalString({
    group,
    help: 'Where the worker stands, as domain=value[,…], for example zone=a,rack=7.',
  }),
  topologyDir: setting.optionalString({
    group,
    help: 'Folder with one file for each further domain: its name is the domain, its content the value.',
  }),
  kvReachDomain: setting.optionalString({
    group,
    help: 'Domain within which the KV of prompts is handed over, for example zone; unset: to any worker.',
  }),
  kvReachEnforcement: setting.choice(['required', 'preferred'], {
    default: 'required',
    group,
    help: 'Whether decode workers must stand in the same domain, or are preferred if they do.',
  }),
  kvReachWeight: setting.number({
    default: 1,
    min: 0,
    max: 1,
    group,
    help: 'Weight of that preference.',
  }),
};

type PlaceConfig = SettingsOf<typeof placeSettings>;

/** Where a worker stands, by domain. Throws `invalid_argument` for what cannot be read. */
export function topologyOf({
  topology,
  topologyDir,
}: Pick<PlaceConfig, 'topology' | 'topologyDir'>): Record<string, string> {
  return { ...fromFolder(topologyDir), ...fromText(topology ?? '') };
}

/** A card with what the worker's place adds to it. An engine that knows its own role keeps it. */
export function placedCard(card: ModelCard, config: PlaceConfig): ModelCard {
  const reach = reachOf(config);
  const placed = reach === undefined ? card : { ...card, kvReach: reach };
  if (config.role === 'aggregated') return placed;
  const role = config.role === 'prefill' ? WorkerRole.PREFILL : WorkerRole.DECODE;
  const needs = [create(NeedSchema, { roles: [WorkerRole.PREFILL, WorkerRole.DECODE] })];
  if (config.decodeAlone && role === WorkerRole.DECODE) needs.push(create(NeedSchema, { roles: [role] }));
  return { ...placed, role, needs };
}

function reachOf({ kvReachDomain: domain, kvReachEnforcement, kvReachWeight }: PlaceConfig): KvReach | undefined {
  if (domain === undefined) return undefined;
  const { REQUIRED, PREFERRED } = KvReach_Enforcement;
  const enforcement = kvReachEnforcement === 'required' ? REQUIRED : PREFERRED;
  return create(KvReachSchema, { domain, enforcement, preferredWeight: kvReachWeight });
}

function fromText(text: string): Record<string, string> {
  const pairs = text.split(',').filter((pair) => pair.trim() !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const [domain = '', ...rest] = pair.split('=');
      const value = rest.join('=').trim();
      if (domain.trim() === '' || value === '')
        throw StatorError.invalid('topology', `topology: "${pair}" is not domain=value`);
      return [domain.trim(), value];
    }),
  );
}

/** As Kubernetes mounts labels: a file each. Names with a dot in front are its own. */
function fromFolder(folder: string | undefined): Record<string, string> {
  if (folder === undefined) return {};
  try {
    const names = readdirSync(folder).filter((name) => !name.startsWith('.'));
    const read = (name: string): string => readFileSync(path.join(folder, name), 'utf8').trim();
    return Object.fromEntries(names.map((name) => [name, read(name)] as const).filter(([, value]) => value !== ''));
  } catch (cause) {
    throw StatorError.invalid('topology_dir', `topology_dir ${folder} cannot be read: ${String(cause)}`);
  }
}
