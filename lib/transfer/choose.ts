import { StatorError } from '#lib/errors/errors.ts';
import {
  type AgentOptions,
  type Peer,
  type TransferAgent,
  type TransferBackend,
  transferBackends,
} from './transfer.ts';

/** What one side offers a peer: the metadata of each of its agents, in any order. */
export type Offers = Partial<Record<TransferBackend, Uint8Array>>;

/**
 * Connects over the best back end that both sides have and that works between them: another host, a namespace or a missing
 * permission rules out `shm` when it is tried. Rejects with the reasons of all where none works, and with
 * `invalid_argument` at once for metadata that is none.
 */
export async function connectBest(
  agents: readonly TransferAgent[],
  offers: Offers,
  options: Pick<AgentOptions, 'timeoutMs'> & { readonly only?: TransferBackend } = {},
): Promise<Peer> {
  const reasons: string[] = [];
  for (const backend of transferBackends) {
    const agent = agents.find((each) => each.backend === backend);
    const offer = offers[backend];
    if (agent === undefined || offer === undefined || (options.only ?? backend) !== backend) continue;
    try {
      return await agent.connect(offer, options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs });
    } catch (thrown) {
      const error = StatorError.from(thrown);
      if (error.code === 'invalid_argument') throw error;
      reasons.push(`${backend}: ${error.message}`);
    }
  }
  const why = reasons.length > 0 ? reasons.join(' ') : 'The two sides have no back end in common.';
  throw new StatorError('worker_unavailable', `There is no way to transfer from this peer. ${why}`);
}
