import { StatorError } from '#lib/errors/errors.ts';

/** For the `catch` of an import of an optional package. */
export function missingPackage(name: string, scheme: string): (thrown: unknown) => never {
  return (thrown) => {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code !== 'ERR_MODULE_NOT_FOUND') throw thrown;
    throw StatorError.unsupported(
      'objectStore',
      `object stores of ${scheme} need the package ${name}, which is not installed: npm install ${name}`,
    );
  };
}
