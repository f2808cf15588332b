import { StatorError } from '#lib/errors/errors.ts';
import type { ContextOf, EngineServiceImpl } from './handler.ts';

export function abort(contextOf: ContextOf): Pick<EngineServiceImpl, 'abort'> {
  return {
    async abort(request) {
      const { models } = contextOf();
      if (request.requestId === '' && !request.all)
        throw StatorError.invalid('request_id', 'request_id must not be empty unless all is set');
      const end = request.all
        ? (host: (typeof models.hosts)[number]) => host.abortAll()
        : (host: (typeof models.hosts)[number]) => host.abort(request.requestId);
      return { aborted: models.hosts.reduce((sum, host) => sum + end(host), 0) };
    },
  };
}
