import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type * as Sdk from '@aws-sdk/client-s3';
import { missingPackage } from '../missing-package.ts';
import { S3Backend } from './backend.ts';

export interface S3Options {
  readonly bucket: string;
  /** Of another service than AWS, for example `http://127.0.0.1:9000`. */
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  /** The bucket in the path instead of the host name. Default: with an endpoint of one's own. */
  readonly pathStyle?: boolean | undefined;
  /** Without a key the SDK's default chain is asked: environment, profiles, web identity, instance. */
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  readonly sessionToken?: string | undefined;
  /** Most connections. */
  readonly connections: number;
}

/** Loads the SDK; nothing is sent yet. Throws `unsupported` where the package is not installed. */
export async function openS3(o: S3Options): Promise<S3Backend> {
  const sdk = await import('@aws-sdk/client-s3').catch(missingPackage('@aws-sdk/client-s3', 's3:'));
  const agentOptions = { keepAlive: true, maxSockets: o.connections };
  const httpAgent = new HttpAgent(agentOptions);
  const httpsAgent = new HttpsAgent(agentOptions);
  const client = new sdk.S3Client({
    // One request each: retries are ours, so that they are counted and end with the caller's deadline.
    maxAttempts: 1,
    requestHandler: { httpAgent, httpsAgent },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    forcePathStyle: o.pathStyle ?? o.endpoint !== undefined,
    ...(o.endpoint !== undefined && { endpoint: o.endpoint }),
    ...regionOf(o),
    ...credentialsOf(o),
  });
  askForChecksums(client);
  return new S3Backend({ sdk, client, bucket: o.bucket, agents: [httpAgent, httpsAgent] });
}

/** Other services than AWS take any region; the SDK wants one. */
function regionOf(o: S3Options): { region?: string } {
  if (o.region !== undefined) return { region: o.region };
  return o.endpoint === undefined ? {} : { region: 'us-east-1' };
}

function credentialsOf({ accessKeyId, secretAccessKey, sessionToken }: S3Options): Partial<Sdk.S3ClientConfig> {
  if (accessKeyId === undefined || secretAccessKey === undefined) return {};
  return { credentials: { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) } };
}

/** The header without the SDK's option for it: that would wrap each body in a checking stream, and we check the buffer. */
function askForChecksums(client: Sdk.S3Client): void {
  client.middlewareStack.add(
    (next, context) => (args) => {
      const asks = context.commandName === 'GetObjectCommand' || context.commandName === 'HeadObjectCommand';
      const request = args.request as { headers: Record<string, string> };
      if (asks) request.headers['x-amz-checksum-mode'] = 'ENABLED';
      return next(args);
    },
    { step: 'build', name: 'askForChecksums' },
  );
}
