// Clients: as many streams as the plan has, read and thrown away.
import net from 'node:net';
import { answerParent } from './child.ts';
import { planOfProcess } from './plan.ts';

const plan = planOfProcess();
const [host = '', port = ''] = (process.argv[3] ?? '').split(':');
let started = 0;
let bytes = 0;

function open(number: number): void {
  const body = JSON.stringify({
    model: 'synthetic',
    messages: [{ role: 'user', content: `stream ${number}` }],
    stream: true,
    max_tokens: 900_000,
    ignore_eos: true,
  });
  const socket = net.connect(Number(port), host);
  const lines = ['POST /v1/chat/completions HTTP/1.1', 'host: x', 'content-type: application/json'];
  socket.write(`${lines.join('\r\n')}\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  socket.once('data', (first) => {
    if (!first.toString('latin1').startsWith('HTTP/1.1 200')) throw new Error(first.toString('utf8'));
    started += 1;
    if (started === plan.width) answerParent('', () => bytes);
  });
  socket.on('data', (data) => {
    bytes += data.length;
  });
  socket.on('error', (error) => {
    throw error;
  });
}

for (let number = 0; number < plan.width; number++) open(number);
