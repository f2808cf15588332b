import { randomBytes } from 'node:crypto';
import { mkdir, rename, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fromJsonString, toJsonString } from '@bufbuild/protobuf';
import { type Instance, InstanceSchema } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { kindLabel } from './metrics.ts';
import { instanceIdHex } from './validate.ts';

const ENTRY_NAME = /^[a-z]+-[0-9a-f]{16}\.json$/;
const TEMPORARY_NAME = /^\.[a-z]+-[0-9a-f]{16}\.[0-9a-f]+\.tmp$/;

/** For example `worker-00c0ffee00c0ffee.json`: one file for each instance. */
export function entryName(instance: Instance): string {
  return `${kindLabel(instance.kind)}-${instanceIdHex(instance.instanceId)}.json`;
}

export function isEntryName(name: string): boolean {
  return ENTRY_NAME.test(name);
}

/** What a writer leaves that died between write and rename. */
export function isTemporaryName(name: string): boolean {
  return TEMPORARY_NAME.test(name);
}

/** The instance in an entry's bytes. Throws when they are not a whole instance, or not the one the name promises. */
export function decodeEntry(name: string, namespace: string, bytes: Buffer): Instance {
  const instance = fromJsonString(InstanceSchema, bytes.toString('utf8'), { ignoreUnknownFields: true });
  if (entryName(instance) !== name) throw new Error(`holds ${entryName(instance)}`);
  if (instance.namespace !== namespace) throw new Error(`holds an instance of namespace ${instance.namespace}`);
  if (instance.instanceId === 0n || instance.address === '') throw new Error('holds no instance_id or no address');
  return instance;
}

/** Writes the entry so that a reader sees the old bytes or the new ones, never a part. */
export async function writeEntry(directory: string, instance: Instance): Promise<void> {
  const name = entryName(instance);
  const temporary = path.join(directory, `.${name.slice(0, -'.json'.length)}.${randomBytes(4).toString('hex')}.tmp`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    await writeFile(temporary, `${toJsonString(InstanceSchema, instance, { prettySpaces: 1 })}\n`, {
      mode: 0o600,
      flag: 'wx',
    });
    await rename(temporary, path.join(directory, name));
  } catch (error) {
    await removeFile(temporary).catch(() => undefined);
    throw error;
  }
}

/** Removes a file; one that is gone already is fine. */
export async function removeFile(file: string): Promise<void> {
  try {
    await unlink(file);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
