// A publisher as a process of its own, to be killed: prints its endpoints, then publishes until then.
// Arguments: messages, endpoint and replay endpoint of one that was killed.
import { TestPublisher } from './publisher.ts';

const [count = '0', endpoint, replayEndpoint] = process.argv.slice(2);
const like = endpoint === undefined || replayEndpoint === undefined ? undefined : { endpoint, replayEndpoint };
const publisher = await TestPublisher.open({ like });
for (let i = 0; i < Number(count); i++) await publisher.publish(Buffer.from(`${Date.now()} ${i}`));
process.stdout.write(`${publisher.endpoint} ${publisher.replayEndpoint}\n`);
