import { affinityModes } from '#core/routing/session-affinity.ts';
import { profileOf } from '#core/scheduling/admission/parse-profile.ts';
import { type PolicyProfile, queuePolicies, singleClassProfile } from '#core/scheduling/admission/policy-class.ts';
import { type SettingsOf, setting } from '#lib/config/settings.ts';
import { loadPolicyConfig } from './policy-profile.ts';

const group = 'Queue';

export const queueSettings = {
  queueThreshold: setting.number({
    default: 0,
    min: 0,
    group,
    help: 'Requests wait while every worker has more prompt tokens to compute than this multiple of one pass; 0: none waits.',
  }),
  queuePolicy: setting.choice(queuePolicies, {
    default: 'fcfs',
    group,
    help: 'Order of waiting requests: first come, last come, or shortest uncached prompt first.',
  }),
  policyConfig: setting.optionalString({
    group,
    help: 'YAML file of policy classes, instead of the two settings above (docs/routing-queue.md).',
  }),
  maxQueuedRequests: setting.integer({
    default: 10_000,
    min: 1,
    group,
    help: 'Most requests that wait; more are refused as overloaded.',
  }),
  queueTimeoutMs: setting.integer({
    default: 60_000,
    min: 0,
    group,
    help: 'Milliseconds that a request may wait which says nothing of it; 0: any time.',
  }),
  overlapRefreshSeconds: setting.number({
    default: 10,
    min: 0,
    group,
    help: 'Seconds of waiting after which the overlap of a request is looked up again.',
  }),
};

export const sessionSettings = {
  sessionAffinity: setting.choice(['off', ...affinityModes], {
    default: 'soft',
    group: 'Sessions',
    help: 'Whether requests of one session go to one worker: hard, to no other; soft, to another if that one cannot serve or is busy.',
  }),
  sessionChildren: setting.choice(['apart', 'parent'], {
    default: 'apart',
    group,
    help: "Where the session of a subagent begins: anywhere, or on the worker of its parent's session if that can serve it and is not busy.",
  }),
  sessionTtlSeconds: setting.integer({
    default: 600,
    min: 1,
    max: 31_536_000,
    group: 'Sessions',
    help: 'Seconds without a request after which a session is forgotten.',
  }),
  maxSessions: setting.integer({
    default: 65_536,
    min: 1,
    max: 1_000_000,
    group: 'Sessions',
    help: 'Most sessions; the one unused for longest makes room.',
  }),
};

/** The profile of each model. Throws `invalid_argument` for a policy file that is not right. */
export function profiles(config: SettingsOf<typeof queueSettings>): (model: string) => PolicyProfile {
  const { queueThreshold, queuePolicy, policyConfig } = config;
  const single = singleClassProfile({ queuePolicy, ...(queueThreshold > 0 ? { busyFraction: queueThreshold } : {}) });
  if (policyConfig === undefined) return () => single;
  const file = loadPolicyConfig(policyConfig);
  return (model) => profileOf(file, model) ?? single;
}
