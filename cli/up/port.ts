import { createServer } from 'node:net';
import { StatorError } from '#lib/errors/errors.ts';

/** Throws before anything long begins if the port cannot be had. Port 0 always can. */
export async function requireFreePort(host: string, port: number): Promise<void> {
  const problem = await listenProblem(host, port);
  if (problem === undefined) return;
  if (problem === 'EADDRINUSE') {
    throw new StatorError(
      'conflict',
      `Port ${port} of ${host} is in use. Choose another with --port, or stop what holds it.`,
    );
  }
  if (problem === 'EACCES') {
    throw new StatorError('permission_denied', `Port ${port} needs privileges. Choose one from 1024 with --port.`);
  }
  throw StatorError.invalid('host', `${host}:${port} cannot be listened on: ${problem}.`);
}

/** Code of the error that listening gives, or undefined. */
export async function listenProblem(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}
