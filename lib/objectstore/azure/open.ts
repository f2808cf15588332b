import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type * as Sdk from '@azure/storage-blob';
import { StatorError } from '#lib/errors/errors.ts';
import { missingPackage } from '../missing-package.ts';
import { AzureBackend } from './backend.ts';

export interface AzureOptions {
  readonly container: string;
  readonly account?: string | undefined;
  /** Of the service. Default: `https://ACCOUNT.blob.core.windows.net`. */
  readonly endpoint?: string | undefined;
  readonly accountKey?: string | undefined;
  /** Shared access signature, with or without its question mark. */
  readonly sas?: string | undefined;
  /** Most connections. */
  readonly connections: number;
}

/**
 * Loads the SDK; nothing is sent yet. With neither key nor signature the default chain of `@azure/identity` is asked, a
 * package of its own. Throws `unsupported` where a package is not installed and `invalid_argument` without account and endpoint.
 */
export async function openAzure(o: AzureOptions): Promise<AzureBackend> {
  const sdk = await import('@azure/storage-blob').catch(missingPackage('@azure/storage-blob', 'azure:'));
  const agentOptions = { keepAlive: true, maxSockets: o.connections };
  const httpAgent = new HttpAgent(agentOptions);
  const httpsAgent = new HttpsAgent(agentOptions);
  const endpoint = endpointOf(o);
  // One try each: retries are ours, so that they are counted and end with the caller's deadline.
  const pipeline = sdk.newPipeline(await credentialOf(sdk, o), { retryOptions: { maxTries: 1 } });
  const agent = endpoint.protocol === 'http:' ? httpAgent : httpsAgent;
  pipeline.factories.unshift({
    create: (next) => ({
      sendRequest: (request) => {
        request.agent = agent;
        return next.sendRequest(request);
      },
    }),
  });
  const service = new sdk.BlobServiceClient(endpoint.href, pipeline);
  return new AzureBackend(service.getContainerClient(o.container), [httpAgent, httpsAgent]);
}

function endpointOf({ endpoint, account, sas }: AzureOptions): URL {
  if (endpoint === undefined && account === undefined)
    throw StatorError.invalid('objectStoreAccessKeyId', 'azure: needs an account name or an endpoint');
  const url = new URL(endpoint ?? `https://${account}.blob.core.windows.net`);
  if (sas !== undefined) url.search = sas;
  return url;
}

async function credentialOf(sdk: typeof Sdk, o: AzureOptions): Promise<Parameters<typeof Sdk.newPipeline>[0]> {
  const { account, accountKey, sas } = o;
  if (sas !== undefined) return new sdk.AnonymousCredential();
  if (account !== undefined && accountKey !== undefined) return new sdk.StorageSharedKeyCredential(account, accountKey);
  const name = '@azure/identity';
  const identity: Identity = await import(name).catch(missingPackage(name, 'azure: without a key'));
  return new identity.DefaultAzureCredential();
}

interface Identity {
  readonly DefaultAzureCredential: new () => Exclude<Parameters<typeof Sdk.newPipeline>[0], undefined>;
}
