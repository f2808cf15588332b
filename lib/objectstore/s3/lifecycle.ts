import type { LifecycleRule } from '@aws-sdk/client-s3';

/** The rules of others, and ours for the prefix. */
export function withExpiry(rules: readonly LifecycleRule[], prefix: string, days: number): LifecycleRule[] {
  const ours = `stator-expiry-${prefix.replaceAll('/', '-')}`;
  const rule: LifecycleRule = {
    ID: ours,
    Status: 'Enabled',
    Filter: { Prefix: prefix },
    Expiration: { Days: days },
    AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 },
  };
  return [...rules.filter(({ ID }) => ID !== ours), rule];
}
