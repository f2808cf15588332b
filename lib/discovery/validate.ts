import { clone } from '@bufbuild/protobuf';
import { type Instance, InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

const NAMESPACE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** A namespace is a folder name and a part of a key, so it may hold nothing that means something there. */
export function checkNamespace(namespace: string): string {
  if (NAMESPACE.test(namespace)) return namespace;
  throw StatorError.invalid(
    'namespace',
    `namespace ${JSON.stringify(namespace)} is not valid: 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit`,
  );
}

/** A private copy of an instance that may be registered in the namespace. */
export function prepareInstance(instance: Instance, namespace: string): Instance {
  if (instance.instanceId === 0n) throw StatorError.invalid('instance_id', 'instance_id must not be zero');
  if (instance.kind === ServiceKind.UNSPECIFIED) throw StatorError.invalid('kind', 'kind must be stated');
  if (instance.address === '') throw StatorError.invalid('address', 'address must be host:port, as others reach it');
  if (instance.namespace !== '' && instance.namespace !== namespace) {
    throw StatorError.invalid(
      'namespace',
      `instance of namespace ${instance.namespace} cannot register in ${namespace}`,
    );
  }
  const copy = clone(InstanceSchema, instance);
  copy.namespace = namespace;
  return copy;
}

/** The new form of a registered instance; what identifies it must not change. */
export function prepareUpdate(instance: Instance, registered: Instance): Instance {
  const copy = prepareInstance(instance, registered.namespace);
  if (copy.instanceId !== registered.instanceId)
    throw StatorError.invalid('instance_id', 'an update keeps the instance_id');
  if (copy.kind !== registered.kind) throw StatorError.invalid('kind', 'an update keeps the kind');
  return copy;
}

export function alreadyRegistered(instance: Instance): StatorError {
  return new StatorError('conflict', `instance ${instanceIdHex(instance.instanceId)} is registered already`);
}

export function discoveryClosed(): StatorError {
  return new StatorError('cancelled', 'discovery is closed');
}

/** Sixteen hexadecimal digits, as keys and file names carry it. */
export function instanceIdHex(instanceId: bigint): string {
  return instanceId.toString(16).padStart(16, '0');
}
