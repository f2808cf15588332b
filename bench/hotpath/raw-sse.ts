// The floor of the SSE side: chunks made beforehand, written straight to sockets, one for each client and step.
import net, { type AddressInfo, type Socket } from 'node:net';
import { answerParent } from './child.ts';
import { planOfProcess } from './plan.ts';

const plan = planOfProcess();
/** As long as a gateway's chunk with one token. */
const event = `data: {"id":"chatcmpl-${'0'.repeat(36)}","object":"chat.completion.chunk","created":1700000000,"model":"synthetic","system_fingerprint":"stator-000000000000","choices":[{"index":0,"delta":{"content":"x"},"logprobs":null,"finish_reason":null}]}\n\n`;
const chunk = Buffer.from(`${event.length.toString(16)}\r\n${event}\r\n`);
const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
const sockets = new Set<Socket>();
let written = 0;

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.once('data', () => {
    socket.write(head);
    sockets.add(socket);
  });
  socket.on('error', () => {});
  socket.on('close', () => sockets.delete(socket));
});
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  answerParent(`127.0.0.1:${port}`, () => written);
});
setInterval(() => {
  for (const socket of sockets) socket.write(chunk);
  written += sockets.size;
}, plan.stepMs);
