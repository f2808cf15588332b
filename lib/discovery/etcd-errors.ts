import { EtcdAuthenticationFailedError, EtcdPermissionDeniedError } from 'etcd3';
import { StatorError } from '#lib/errors/errors.ts';

/** The answer to an error that will not pass by trying again, or undefined when it may. */
export function refusalOf(error: unknown): StatorError | undefined {
  if (error instanceof EtcdAuthenticationFailedError) {
    return new StatorError('unauthenticated', 'etcd refuses the user name or password', { cause: error });
  }
  if (error instanceof Error && error.message.includes('user name is empty')) {
    return new StatorError('unauthenticated', 'etcd asks for a user name and password', { cause: error });
  }
  if (error instanceof EtcdPermissionDeniedError) {
    return new StatorError('permission_denied', 'etcd refuses the user access to the keys of Stator', { cause: error });
  }
  if (error instanceof Error && /request is too large|message larger than max/.test(error.message)) {
    return new StatorError('payload_too_large', 'the instance, with its model cards, is larger than etcd takes', {
      cause: error,
    });
  }
  return undefined;
}
