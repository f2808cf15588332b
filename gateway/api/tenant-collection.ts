import { createHash } from 'node:crypto';
import { currentCaller } from '../tenants/caller.ts';

/** A collection of the tenant whose request is being answered: what it holds is there for nobody else. */
export function tenantCollection(name: string): string {
  const tenant = currentCaller()?.tenant ?? '';
  return tenant === '' ? name : `${name}/${createHash('sha256').update(tenant).digest('hex').slice(0, 32)}`;
}
