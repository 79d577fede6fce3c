/**
 * Backends in a process of their own, so that they answer however busy the process of the clients is: TCP and UDP at port 8000 of each
 * address, which answer with what they get. `node scripts/faults/backends.ts ADDRESS…` prints `listening` and runs until it is signalled.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'

for (const ip of process.argv.slice(2)) {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  await once(server.listen({ host: ip, port: 8000, backlog: 4096 }), 'listening')
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 })
  socket.on('message', (message, { port, address }) => socket.send(message, port, address))
  socket.bind(8000, ip)
  await once(socket, 'listening')
}
console.log('listening')
