// A host in another language, as small as one can be: it echoes frames.
'use strict';
const socket = new (require('net').Socket)({ fd: 3, readable: true, writable: true });
let done = 0n, calls = 0, pending = Buffer.alloc(0);

function send(kind, payload) {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(payload.length);
  header[4] = kind;
  socket.write(Buffer.concat([header, payload]));
}
const sendJSON = (kind, value) => send(kind, Buffer.from(JSON.stringify(value)));

function progress(inWork) {
  const payload = Buffer.alloc(16);
  payload.writeBigUInt64BE(done);
  payload.writeBigUInt64BE(inWork, 8);
  send(18, payload);
}

function call(work) {
  calls++;
  progress(done + 1n);
  work();
  done++;
  progress(0n);
}

function handle(kind, payload) {
  switch (kind) {
    case 1: console.log('set up with', payload.toString()); return send(16, Buffer.alloc(0));
    case 2: case 5: return;
    case 3: return call(() => send(19, Buffer.concat([payload.subarray(0, 4), Buffer.from([1]), payload.subarray(5)])));
    case 4: return sendJSON(20, { sequence: JSON.parse(payload).sequence, calls });
    case 6: send(23, Buffer.alloc(0)); return socket.end(() => process.exit(0));
  }
  call(() => {
    const text = payload.toString();
    if (text === 'loop') for (;;);
    if (text === 'throw') throw new TypeError('x is not a function');
    send(kind, payload);
  });
}

socket.on('data', (chunk) => {
  pending = Buffer.concat([pending, chunk]);
  while (pending.length >= 5 && pending.length >= 5 + pending.readUInt32BE()) {
    const end = 5 + pending.readUInt32BE();
    const [kind, payload] = [pending[4], pending.subarray(5, end)];
    pending = pending.subarray(end);
    handle(kind, payload);
  }
});
socket.on('end', () => process.exit(1));
sendJSON(15, { protocol: 1 });
